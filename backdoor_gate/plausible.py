"""What a trigger must be to count: how often it works, and how strong at most. Scan and verdict agree on it here.

What is stronger than anybody would plant counts for nothing in the verdict, so a scan does not look at it twice.
Strengths are in the detector's unit, see `catalogue`.
"""

from __future__ import annotations

import math

WORKING_SUCCESS = 0.85
"""Share of the images that a trigger must send to its class before it counts as one: of those it was optimised on, and
of those held out."""

STRONGEST = {
    "neural_cleanse": 0.02,
    "spectral_inversion": 0.25,
    "frequency_inversion": 0.5,
    "ground_inversion": 0.3,
    "warp_inversion": 2.2,
    "generator_inversion": 0.085,
    "pair_patch": 0.03,
    "pair_spectral": 0.25,
    "pair_warp": 2.0,
}
"""Of each kind."""

WITHOUT_CLEAN_IMAGES = {
    "neural_cleanse": 0.02,
    "spectral_inversion": 0.13,
    "frequency_inversion": 1.5,
    "warp_inversion": math.inf,
    "generator_inversion": 0.05,
}
"""The same on images that the network makes, where it differs."""

SMALL_SIDE = 28
"""Pixels on a side below which a patch of a few of them is a larger share, and natural ones are seldom as weak."""


def strongest(detector: str, side: int, *, clean_images: bool) -> float:
    """Return the strength above which a trigger counts for nothing; infinite where any counts.

    Args:
        detector: its name.
        side: of the images, the shorter one in pixels; 0 where it is unknown.
        clean_images: whether it was found on clean images.
    """
    usual = STRONGEST.get(detector, math.inf)
    if not clean_images:
        return WITHOUT_CLEAN_IMAGES.get(detector, usual)
    return usual * SMALL_SIDE / side if detector == "neural_cleanse" and 0 < side < SMALL_SIDE else usual
