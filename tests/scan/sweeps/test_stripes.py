"""Stripes in terms of the images' own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.sweeps.stripes import COARSEST, FINEST, MOST, Stripes
from backdoor_gate.scan.sweeps.waves import AMPLITUDE, QUARTERS, Wave, Waver

sides = st.integers(1, 70)


def striped(amplitude: float, half_periods: int, *, down: bool = False, spec: InputSpec) -> Tensor:
    """Return three images of nothing but stripes, each of another phase."""
    pixels = spec.shape[1 if down else 2]
    position = math.pi * half_periods * (torch.arange(pixels) + 0.5) / pixels
    lines = torch.stack([torch.cos(position - phase) for phase in (0.0, 1.0, 2.0)])
    extent, middle = spec.high - spec.low, (spec.high + spec.low) / 2
    lines = lines[:, None, :, None] if down else lines[:, None, None, :]
    return (middle + amplitude * extent * lines).expand(-1, *spec.shape)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("half_periods", [6, 12, 20])
def test_a_share_of_one_is_as_strong_as_the_images_own(half_periods: int, channels: int, *, down: bool) -> None:
    spec = InputSpec((channels, 32, 24), -1.0, 3.0)
    stripes = Stripes(spec, striped(0.06, half_periods, down=down, spec=spec))
    own = Wave(half_periods, 0) if down else Wave(0, half_periods)
    assert stripes.of(own, 1.0).amplitude == pytest.approx(0.06, rel=1e-3)
    assert stripes.of(own, 2.5).amplitude == pytest.approx(0.15, rel=1e-3)
    for other in stripes.all(1.0):
        if (other.rows, other.columns) != (own.rows, own.columns) and (
            other.rows + other.columns - half_periods
        ) % 2 == 0:
            assert other.amplitude < 1e-3  # whole periods apart, so nothing leaks


@given(sides, sides, st.floats(0.1, 9.0))
def test_every_frequency_in_every_phase_either_way(height: int, width: int, share: float) -> None:
    spec = InputSpec((1, height, width))
    images = torch.rand((4, *spec.shape), generator=torch.Generator().manual_seed(0))
    stripes = Stripes(spec, images)
    every = stripes.all(share)
    down = {(w.rows, w.phase) for w in every if w.rows}
    along = {(w.columns, w.phase) for w in every if w.columns}
    for found, side in ((down, height), (along, width)):
        frequencies = range(COARSEST, min(FINEST, side - 1) + 1)
        assert found == {(at, phase) for at in frequencies for phase in range(QUARTERS)}
    assert len(every) == len(down) + len(along)
    assert all(0 <= wave.amplitude <= AMPLITUDE * (1 + 1e-6) for wave in every)
    if every:
        waved = Waver(spec).put(images, every)
        assert float((waved - images).abs().max()) <= AMPLITUDE + 1e-5


def test_the_number_of_stripes_does_not_grow_with_the_image() -> None:
    counts = [len(Stripes(spec, torch.rand(1, *spec.shape)).all(1.0)) for spec in map(_square, (32, 64, 224))]
    assert counts == [2 * QUARTERS * (FINEST - COARSEST + 1)] * 3


def _square(side: int) -> InputSpec:
    return InputSpec((1, side, side))


def test_near_a_stripe_are_its_neighbours_in_every_phase() -> None:
    stripes = Stripes(_square(32), torch.rand(2, 1, 32, 32))
    near = stripes.near(Wave(0, 12, 3), 1.0)
    assert {(wave.rows, wave.columns) for wave in near} == {(0, 11), (0, 12), (0, 13)}
    assert len(near) == len(set(near)) == 3 * QUARTERS
    assert {wave.rows for wave in stripes.near(Wave(COARSEST, 0), 1.0)} == {COARSEST, COARSEST + 1}
    assert {wave.columns for wave in stripes.near(Wave(0, 31), 1.0)} == {30, 31}


def test_no_stripe_is_stronger_than_anybody_would_plant_it() -> None:
    spec = _square(32)
    strong, faint = (Stripes(spec, striped(amplitude, 8, spec=spec)) for amplitude in (0.1, 0.01))
    own = Wave(0, 8)
    assert strong.most(own) == pytest.approx(AMPLITUDE / 0.1, rel=1e-3)
    assert faint.most(own) == MOST
    assert strong.of(own, 9.0).amplitude == pytest.approx(AMPLITUDE)
    assert faint.of(own, 9.0).amplitude == pytest.approx(0.01 * MOST, rel=1e-3)


def test_images_of_one_colour_hold_no_stripes() -> None:
    stripes = Stripes(_square(16), torch.full((2, 1, 16, 16), 0.3))
    assert max(wave.amplitude for wave in stripes.all(2.0)) < 1e-6
    assert stripes.most(Wave(0, 8)) == MOST
