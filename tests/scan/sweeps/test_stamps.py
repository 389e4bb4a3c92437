"""Plain small patches, put anywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.sweeps.stamps import STYLES, Stamp, Stamper

sides = st.integers(1, 70)


@given(sides, sides, st.integers(1, 3), st.integers(0, len(STYLES) - 1), st.data())
def test_a_patch_changes_what_is_under_it_alone(
    height: int, width: int, channels: int, style: int, data: st.DataObject
) -> None:
    stamper = Stamper(InputSpec((channels, height, width), -1.0, 3.0))
    size = data.draw(st.integers(1, stamper.largest))
    at = data.draw(st.integers(-90, 90)), data.draw(st.integers(-90, 90))
    stamp = stamper.within(Stamp(style, size, *at))
    side = size * stamper.unit
    images = torch.full((2, channels, height, width), 0.5)
    (stamped,) = stamper.put(images, [stamp])
    changed = stamped != images
    assert changed.sum() == 2 * channels * side * side
    assert changed[:, :, stamp.row : stamp.row + side, stamp.column : stamp.column + side].all()
    assert set(stamped[changed].tolist()) <= {-1.0, 3.0}
    assert torch.equal(images, torch.full_like(images, 0.5))


@pytest.mark.parametrize(("side", "unit", "largest"), [(8, 1, 1), (16, 1, 2), (28, 1, 4), (32, 1, 4), (224, 7, 4)])
def test_what_is_small_follows_from_the_image(side: int, unit: int, largest: int) -> None:
    stamper = Stamper(InputSpec((3, side, side)))
    assert (stamper.unit, stamper.largest) == (unit, largest)


@given(sides, sides)
def test_the_grid_reaches_every_border(height: int, width: int) -> None:
    stamper = Stamper(InputSpec((1, height, width)))
    size = min(3, stamper.largest)
    grid, side = stamper.grid(size, min(2, size)), size * stamper.unit
    assert {stamp.style for stamp in grid} == set(range(len(STYLES)))
    covered = torch.zeros(height, width, dtype=torch.bool)
    for stamp in grid:
        assert 0 <= stamp.row <= height - side
        assert 0 <= stamp.column <= width - side
        covered[stamp.row : stamp.row + side, stamp.column : stamp.column + side] = True
    assert covered.all()


def test_the_styles() -> None:
    stamper = Stamper(InputSpec((1, 28, 28)))
    faces = [stamper.put(torch.full((1, 1, 28, 28), 0.5), [Stamp(style, 2, 3, 4)])[0, 0, 0] for style in range(4)]
    assert [face[3:5, 4:6].flatten().tolist() for face in faces] == [
        [1.0, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 1.0],
        [0.0, 1.0, 1.0, 0.0],
    ]
    assert stamper.words(Stamp(2, 2, 3, 4)) == "checkered patch of 2×2 pixels at row 3, column 4"
    assert stamper.words(Stamp(0, 2, 1, 2, cornered=True)) == (
        "white patch of 2×2 pixels at row 1, column 2, with copies as far from the three other corners"
    )


@given(st.integers(1, 4), st.sampled_from([1, 7]), st.sampled_from([2, 3]), st.integers(0, 1000))
def test_random_patterns_take_the_place_of_checks(size: int, unit: int, style: int, seed: int) -> None:
    stamper = Stamper(InputSpec((1, 32 * unit, 32 * unit)))
    stamp = Stamp(style, size, 5, 9)
    found = stamper.random(stamp, 6, seed)
    assert found == stamper.random(stamp, 6, seed)
    assert len(found) == (6 if size > 1 else 0)
    grey = torch.full((1, 1, 32 * unit, 32 * unit), 0.5)
    faces = stamper.put(grey, [stamp, *found])[:, 0, 0]
    checks, others = faces[0], faces[1:]
    assert torch.equal(others != 0.5, (checks != 0.5).expand_as(others))
    assert all((face == 1).sum() == size**2 // 2 * unit**2 for face in others)
    assert not any(torch.equal(face, checks) or torch.equal(face, 1 - checks) for face in others)


@pytest.mark.parametrize("style", [0, 1])
def test_a_plain_patch_has_no_pattern(style: int) -> None:
    assert Stamper(InputSpec((1, 28, 28))).random(Stamp(style, 4, 0, 0), 6, 0) == []


def test_in_all_corners() -> None:
    stamper = Stamper(InputSpec((1, 20, 30)))
    (stamped,) = stamper.put(torch.full((1, 1, 20, 30), 0.5), [Stamp(0, 2, 1, 2, cornered=True)])
    white = (stamped[0, 0] == 1).nonzero().tolist()
    assert white == [[row, column] for row in (1, 2, 17, 18) for column in (2, 3, 26, 27)]
    assert all(each.cornered for each in stamper.near(Stamp(0, 2, 1, 2, cornered=True), (2,), (0,)))


def test_what_is_near_is_named_once() -> None:
    stamper = Stamper(InputSpec((1, 28, 28)))
    near = stamper.near(Stamp(0, 3, 0, 25), (2, 4), (0, 1))
    assert len(near) == len(set(near))
    assert Stamp(1, 4, 1, 24) in near
    assert all(0 <= stamp.row <= 1 and stamp.column + stamp.size <= 28 for stamp in near)
