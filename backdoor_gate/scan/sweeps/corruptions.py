"""Everyday corruptions of images, mild enough that a network keeps its answer: fewer shades, dithering, noise.

Each takes (N, C, H, W) float images in [0, 1] and returns as many in [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

if TYPE_CHECKING:
    from collections.abc import Iterator

SHADES = (3, 4, 5, 6, 8)
"""Values left of each channel."""

NOISE = (0.04, 0.06, 0.08)
"""Standard deviations."""

LOST = (0.01, 0.02, 0.03)
"""Shares of the values that are set to black or white."""

NAMES = (
    *(f"leaving {shades} shades" for shades in SHADES),
    *(f"dithering to {shades} shades" for shades in SHADES),
    *(f"noise of {deviation:.0%}" for deviation in NOISE),
    *(f"losing {share:.0%} of the pixels" for share in LOST),
    "halving the resolution",
)
"""What is done to the images."""


def corrupted(images: Tensor, seed: int, grain: int = 1) -> Iterator[Tensor]:
    """Yield the images as each of `NAMES` leaves them, in that order.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        seed: of the noise.
        grain: pixels along a side of the squares that noise and loss come in.
    """
    for shades in SHADES:
        yield (images * (shades - 1)).round() / (shades - 1)
    yield from diffused(images, SHADES)
    generator = torch.Generator().manual_seed(seed)
    coarse = (*images.shape[:2], *(-(-extent // grain) for extent in images.shape[2:]))
    normal = _grained(torch.randn(coarse, generator=generator), images, grain)
    for deviation in NOISE:
        yield (images + deviation * normal).clamp(0, 1)
    uniform = _grained(torch.rand(coarse, generator=generator), images, grain)
    for share in LOST:
        yield images.masked_fill(uniform < share / 2, 0).masked_fill(uniform > 1 - share / 2, 1)
    half = F.avg_pool2d(images, 2, ceil_mode=True)
    yield F.interpolate(half, size=images.shape[-2:], mode="nearest")


def _grained(values: Tensor, images: Tensor, grain: int) -> Tensor:
    """Return the values, each for a square of so many pixels on a side, as large as the images."""
    height, width = images.shape[2:]
    squares = values.repeat_interleave(grain, dim=2).repeat_interleave(grain, dim=3)
    return squares[:, :, :height, :width].to(images.device)


def diffused(images: Tensor, shades: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return the images with so many shades, each rounding error spread over the neighbours that follow.

    Pixels (r, c) of the same c + 2·r have no part in each other's error, so each such diagonal is one step, for all
    images and numbers of shades at once. Row by row in memory they are evenly spaced, and so are their neighbours.

    Source: Floyd and Steinberg, Proceedings of the SID 17(2), 1976; as a trigger: BppAttack, Wang et al., CVPR 2022.
    """
    count, channels, height, width = images.shape
    steps = torch.tensor([float(each - 1) for each in shades], device=images.device).repeat_interleave(count * channels)
    # A border takes the errors that leave the image: one column on either side, one row below. Pixels come first, so
    # that all values of one lie side by side.
    across = width + 2
    bordered = F.pad(images, (1, 1, 0, 1)).permute(2, 3, 0, 1).reshape((height + 1) * across, 1, -1)
    work = bordered.repeat(1, len(shades), 1).flatten(1)  # (pixels, shades·images·channels)
    for diagonal in range(width + 2 * (height - 1)):
        first, last = max(0, (diagonal - width + 2) // 2), min(height - 1, diagonal // 2)
        begin, end, apart = first * width + diagonal + 1, last * width + diagonal + 2, across - 2
        value = work[begin:end:apart]
        rounded = ((value * steps).round() / steps).clamp(0, 1)
        error = value - rounded
        value.copy_(rounded)
        for by, share in ((1, 7), (across - 1, 3), (across, 5), (across + 1, 1)):
            work[begin + by : end + by : apart] += error * (share / 16)
    done = work.view(height + 1, across, len(shades), count, channels)[:height, 1 : width + 1]
    return tuple(done.permute(2, 3, 4, 0, 1).contiguous())
