"""Plain stripes and waves, of every frequency."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.sweeps.waves import AMPLITUDE, QUARTERS, TINTS, Wave, Waver

sides = st.integers(1, 70)


@given(sides, sides, st.sampled_from([1, 2, 3]), st.data())
def test_a_wave_adds_its_amplitude_and_no_more(height: int, width: int, channels: int, data: st.DataObject) -> None:
    waver = Waver(InputSpec((channels, height, width), -1.0, 3.0))
    wave = Wave(
        data.draw(st.integers(0, height - 1)),
        data.draw(st.integers(0, width - 1)),
        data.draw(st.integers(0, QUARTERS - 1)),
        data.draw(st.sampled_from(list(waver.tints))),
    )
    images = torch.full((2, channels, height, width), 1.0)
    (waved,) = waver.put(images, [wave])
    change = waved - images
    assert change.shape == images.shape
    assert float(change.abs().max()) <= AMPLITUDE * 4.0 + 1e-5
    assert torch.equal(change[0], change[1])
    (clipped,) = waver.put(torch.full_like(images, 3.0), [wave])
    assert float(clipped.max()) <= 3.0
    assert torch.equal(images, torch.full_like(images, 1.0))


@given(sides, sides, st.sampled_from([1, 3]))
def test_the_grid_holds_each_wave_once_with_its_negative(height: int, width: int, channels: int) -> None:
    grid = Waver(InputSpec((channels, height, width))).grid()
    assert len(set(grid)) == len(grid)
    assert {wave.phase for wave in grid} <= {0, 2}
    assert all(Wave(wave.rows, wave.columns, 2 - wave.phase, wave.tint) in grid for wave in grid)
    assert all(0 <= wave.rows < height and 0 <= wave.columns < width and wave.rows + wave.columns > 0 for wave in grid)
    for highest in (Wave(height - 1, 0), Wave(0, width - 1), Wave(height - 1, width - 1)):
        assert highest in grid or highest == Wave(0, 0)


@pytest.mark.parametrize(("side", "fewest", "most"), [(8, 10, 100), (28, 100, 300), (32, 100, 300), (224, 300, 700)])
def test_there_are_not_too_many(side: int, fewest: int, most: int) -> None:
    assert fewest <= len(Waver(InputSpec((3, side, side))).grid()) <= most


@pytest.mark.parametrize("cycles", [4, 5, 6, 7])
def test_the_sine_of_the_paper_is_near_one_of_the_grid(cycles: int) -> None:
    """SIG, Barni et al., 2019: `sin(2π·j·f / W)` along the columns."""
    waver = Waver(InputSpec((1, 28, 28)))
    sine = torch.sin(2 * math.pi * cycles * torch.arange(28) / 28).expand(28, 28)
    start = min(
        (wave for wave in waver.grid() if not wave.rows and not wave.phase), key=lambda w: abs(w.columns - 2 * cycles)
    )
    near = waver.near(start, 2, range(QUARTERS), [0])
    near += [wave for first in list(near) for wave in waver.near(first, 1, [first.phase], [0])]
    changes = waver.put(torch.full((1, 1, 28, 28), 0.5), near)[:, 0, 0] - 0.5
    likeness = (changes * sine).sum(dim=(1, 2)) / (changes.norm(dim=(1, 2)) * sine.norm())
    assert float(likeness.max()) > 0.7


def test_near_a_wave_are_its_neighbours_within_the_image() -> None:
    waver = Waver(InputSpec((1, 8, 8)))
    near = waver.near(Wave(0, 7), 1, (0, 1), (0,))
    assert {(wave.rows, wave.columns) for wave in near} == {(0, 6), (0, 7), (1, 6), (1, 7)}
    assert {wave.phase for wave in near} == {0, 1}
    assert len(set(near)) == len(near)
    assert Wave(0, 0) not in waver.near(Wave(0, 1), 1, (0,), (0,))


def test_quarters_of_a_period() -> None:
    waver = Waver(InputSpec((1, 16, 16)))
    found = waver.put(torch.full((1, 1, 16, 16), 0.5), [Wave(0, 8, phase) for phase in range(QUARTERS)])[:, 0] - 0.5
    assert torch.allclose(found[0], -found[2], atol=1e-6)
    assert torch.allclose(found[1], -found[3], atol=1e-6)
    assert float((found[0] * found[1]).sum().abs()) < 1e-4


def test_tints_change_no_brightness() -> None:
    luma = torch.tensor([0.299, 0.587, 0.114])
    for name, shares in TINTS.items():
        brightness = float((luma * torch.tensor(shares)).sum())
        assert brightness == pytest.approx(1.0 if name == "grey" else 0.0, abs=0.01)
    assert list(Waver(InputSpec((1, 8, 8))).tints) == [0]
    assert [wave.tint for wave in Waver(InputSpec((3, 8, 8))).turned(Wave(1, 1))] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (Wave(0, 12), "adding stripes of 6 periods along the image at 25% of the range"),
        (Wave(2, 0), "adding stripes of 1 period down the image at 25% of the range"),
        (Wave(5, 0), "adding stripes of 2.5 periods down the image at 25% of the range"),
        (
            Wave(15, 31, 2, 1),
            "adding waves of 7.5 periods down and 15.5 along the image in blue and red at 25% of the range",
        ),
    ],
)
def test_a_wave_in_words(wave: Wave, words: str) -> None:
    assert Waver(InputSpec((3, 32, 32))).words(wave) == words
