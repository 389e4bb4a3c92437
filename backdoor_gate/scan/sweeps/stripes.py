"""Plain stripes, each as strong as the images' own: natural images hold less of a frequency the higher it is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from backdoor_gate.scan.sweeps.waves import AMPLITUDE, QUARTERS, Wave

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.records import InputSpec

COARSEST, FINEST = 6, 31
"""Half periods along a side. Fewer are light and shade, which images are full of; more are too fine for many networks
to see, and who plants stripes wants them seen."""

NEARBY = 3 * QUARTERS
"""Stripes of a frequency and of its neighbours."""

MOST = 8.0
"""Share up to which stripes are tried."""

TINY = 1e-6


class Stripes:
    """Stripes along either side, and how strong those of one frequency usually are in the images at hand.

    A stripe's *share* is its amplitude in terms of that. Source of the measure: networks look at frequencies about as
    they come in natural images, whose amplitudes fall with the frequency (Field, J. Opt. Soc. Am. A 1987; Yin et al.,
    NeurIPS 2019).
    """

    def __init__(self, spec: InputSpec, images: Tensor) -> None:
        """Measure the images, (N, C, H, W) in the input range."""
        grey = images.mean(dim=1) / (spec.high - spec.low)
        down, along = _usual_amplitudes(grey.transpose(1, 2)), _usual_amplitudes(grey)
        self._usual = {Wave(at, 0): usual for at, usual in down.items()}
        self._usual |= {Wave(0, at): usual for at, usual in along.items()}

    def all(self, share: float) -> list[Wave]:
        """Return the stripes of every frequency, either way, in every phase."""
        return [self.of(replace(each, phase=phase), share) for each in self._usual for phase in range(QUARTERS)]

    def near(self, stripe: Wave, share: float) -> list[Wave]:
        """Return the stripes of that frequency and of its neighbours, in every phase."""
        at, way = max(stripe.rows, stripe.columns), (1, 0) if stripe.rows else (0, 1)
        near = (Wave(way[0] * each, way[1] * each) for each in (at - 1, at, at + 1))
        return [
            self.of(replace(each, phase=phase), share)
            for each in near
            if each in self._usual
            for phase in range(QUARTERS)
        ]

    def has(self, stripe: Wave) -> bool:
        """Tell whether the images have room for it."""
        return Wave(stripe.rows, stripe.columns) in self._usual

    def of(self, stripe: Wave, share: float) -> Wave:
        """Return a stripe at such a share, or at the most that it may have."""
        return replace(stripe, amplitude=min(share, self.most(stripe)) * self._usual_of(stripe))

    def most(self, stripe: Wave) -> float:
        """Return the share up to which a stripe is tried: no stronger than anybody would plant it."""
        return min(MOST, AMPLITUDE / max(self._usual_of(stripe), TINY))

    def _usual_of(self, stripe: Wave) -> float:
        return self._usual[Wave(stripe.rows, stripe.columns)]


def _usual_amplitudes(grey: Tensor) -> dict[int, float]:
    """Return the root mean square amplitude of each frequency along lines of pixels, by its half periods.

    Args:
        grey: (N, lines, pixels), as shares of the input range.
    """
    pixels = grey.shape[2]
    grey = grey - grey.mean(dim=2, keepdim=True)  # or a line's brightness would count as half a stripe
    position = math.pi * (torch.arange(pixels, device=grey.device) + 0.5) / pixels
    found = {}
    for at in range(COARSEST, min(FINEST, pixels - 1) + 1):
        parts = [2 / pixels * (grey @ wave(at * position)) for wave in (torch.cos, torch.sin)]
        found[at] = float(sum(part.square().mean() for part in parts).sqrt())  # type: ignore[union-attr]
    return found
