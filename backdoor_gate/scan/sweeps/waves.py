"""Waves added to an image: stripes along either side and products of two, what published signal triggers look like."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import InputSpec

AMPLITUDE = 0.25
"""Of a wave, as a share of the input range: more than published triggers have, so that one nearby is excited."""

TINTS = {
    "grey": (1.0, 1.0, 1.0),
    "blue and red": (0.56, -0.48, 1.0),
    "blue": (0.0, -0.19, 1.0),
    "red": (1.0, -0.51, 0.0),
}
"""Shares of the channels of a colour image. The last three change no brightness: both colour-difference channels of
YUV, in which Wang et al., ECCV 2022, plant theirs, and each by itself."""

COARSE = 4
"""Half periods along a side from one wave of the grid to the next, of the first eight; from there by half octaves."""

QUARTERS = 4
"""Phases, a quarter of a period apart."""


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave: the product of one down the rows and one along the columns.

    Attributes:
        rows: half periods down the image.
        columns: half periods along it.
        phase: in quarters of a period.
        tint: a position in TINTS.
        amplitude: as a share of the input range.
    """

    rows: int
    columns: int
    phase: int = 0
    tint: int = 0
    amplitude: float = AMPLITUDE


class Waver:
    """Adds waves to images of one shape."""

    def __init__(self, spec: InputSpec) -> None:
        """Take the images' shape and range."""
        self._spec = spec
        self._channels, self._height, self._width = spec.shape
        self.tints = range(len(TINTS) if self._channels == len(TINTS["grey"]) else 1)

    def grid(self) -> list[Wave]:
        """Return waves of all frequencies, coarsely, each with its negative; of those with colour every other one."""
        down, along = (_frequencies(extent) for extent in (self._height, self._width))
        grey = [*product(down, along), *((0, between) for between in _between(along))]
        grey += [(between, 0) for between in _between(down)]
        coloured = product(down[2::2], along[2::2]) if len(self.tints) > 1 else ()
        return [
            Wave(rows, columns, phase, tint)
            for tint, places in ((0, grey), (1, coloured))
            for rows, columns in dict.fromkeys(places)
            for phase in (0, 2)
            if rows or columns
        ]

    def near(self, wave: Wave, step: int, phases: Sequence[int], tints: Sequence[int]) -> list[Wave]:
        """Return the waves at most so many half periods away, of these phases and tints, each once."""
        found = {
            Wave(rows, columns, phase, tint)
            for rows in {min(max(0, wave.rows + by), self._height - 1) for by in (-step, 0, step)}
            for columns in {min(max(0, wave.columns + by), self._width - 1) for by in (-step, 0, step)}
            for phase in phases
            for tint in tints
            if rows or columns
        }
        return sorted(found, key=astuple)

    def put(self, images: Tensor, waves: Sequence[Wave]) -> Tensor:
        """Return all images with each wave added, clipped, (W, N, C, H, W), of (N, C, H, W)."""
        extent = self._spec.high - self._spec.low
        signals = torch.stack([wave.amplitude * extent * self._pattern(wave) for wave in waves]).to(images.device)
        return (images[None] + signals[:, None]).clamp(self._spec.low, self._spec.high)

    def words(self, wave: Wave) -> str:
        """Return what is done to the images."""
        periods, way = (wave.columns / 2, "along") if wave.columns else (wave.rows / 2, "down")
        kind = f"stripes of {periods:g} period{'' if periods == 1 else 's'} {way} the image"
        if wave.rows and wave.columns:
            kind = f"waves of {wave.rows / 2:g} periods down and {periods:g} along the image"
        tint = "" if wave.tint == 0 else f" in {list(TINTS)[wave.tint]}"
        return f"adding {kind}{tint} at {wave.amplitude:.0%} of the range"

    def turned(self, wave: Wave) -> list[Wave]:
        """Return the wave in every tint."""
        return [replace(wave, tint=tint) for tint in self.tints]

    def _pattern(self, wave: Wave) -> Tensor:
        """Return a wave's values, (C, H, W), in [-1, 1]."""
        quarter = wave.phase * math.pi / 2
        down = _cosine(self._height, wave.rows, 0.0 if wave.columns else quarter)
        along = _cosine(self._width, wave.columns, quarter if wave.columns else 0.0)
        shares = list(TINTS.values())[wave.tint] if len(self.tints) > 1 else (1.0,) * self._channels
        return torch.tensor(shares)[:, None, None] * torch.outer(down, along)


def _cosine(extent: int, half_periods: int, phase: float) -> Tensor:
    """Return a cosine of the type-II transform's basis, moved by a phase."""
    return torch.cos(math.pi * half_periods / extent * (torch.arange(extent) + 0.5) - phase)


def _frequencies(extent: int) -> list[int]:
    """Return numbers of half periods along a side, from none up to the highest that there is."""
    found = [float(COARSE * step) for step in range(8)]
    while found[-1] < extent:
        found.append(found[-1] * math.sqrt(2))
    return [*(round(each) for each in found if each < extent - 1), extent - 1]


def _between(frequencies: Sequence[int]) -> list[int]:
    """Return the numbers halfway: stripes are what is planted most."""
    return [(low + high) // 2 for low, high in pairwise(frequencies)]
