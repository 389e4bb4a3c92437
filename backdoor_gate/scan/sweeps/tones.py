"""Other tones and poses of the same images, as of another photographer: colours, brightness, contrast, turns, mirrors.

Each takes (N, C, H, W) float images in [0, 1] and returns as many in [0, 1]. Black stays black: to a network for
digits a lighter ground is no tone but another world.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CASTS = (
    ("red", (0,)),
    ("green", (1,)),
    ("blue", (2,)),
    ("red and green", (0, 1)),
    ("red and blue", (0, 2)),
    ("green and blue", (1, 2)),
)
"""Channels that are darkened together, and what they are called."""

DARKENED = (0.75, 0.6)
"""Share of those channels that is left."""

DIMMED = 0.65
"""Share of all channels that is left: at a half, clean networks send dark images to one class."""

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (Recommendation ITU-R BT.601)."""

TINTS = (("grey", (1.0, 1.0, 1.0)), ("sepia", (1.1, 0.95, 0.7)), ("blue grey", (0.7, 0.95, 1.1)))
"""Of images without colours."""

GAMMAS = (0.4, 0.6, 1.6, 2.5)
"""Exponents: below one the middle tones are lighter, above it darker."""

TURNS = (-30, -20, -10, 10, 20, 30)
"""Degrees, anticlockwise; black where nothing is."""

MIRRORS = (
    ("mirroring the images left to right", (-1,)),
    ("mirroring the images top to bottom", (-2,)),
    ("half a turn", (-1, -2)),
)
"""What is flipped, rows (-2) or columns (-1). Quarter turns are not among them: clean networks for clothes take most
that lies on its side for a bag."""


def names(channels: int) -> tuple[str, ...]:
    """Return what is done to images of so many channels, in the order of `toned`."""
    casts = [f"leaving {share:.0%} of {name}" for share in DARKENED for name, _ in CASTS]
    tints = [f"turning the images {name}" for name, _ in TINTS]
    return (
        *((*casts, *tints) if channels == len(GREY) else ()),
        f"leaving {DIMMED:.0%} of the brightness",
        *(f"a gamma of {exponent}" for exponent in GAMMAS),
        *(f"a turn by {degrees} degrees" for degrees in TURNS),
        *(name for name, _ in MIRRORS),
    )


def toned(images: Tensor) -> Iterator[Tensor]:
    """Yield the images as each of `names` leaves them, in that order.

    Colour filters are triggers of ABS (Liu et al., CCS 2019) and of NIST's TrojAI, turns of Wu et al., "Just Rotate
    it" (arXiv:2207.10825).

    Args:
        images: (N, C, H, W) float32 in [0, 1].
    """
    if images.shape[1] == len(GREY):
        yield from _coloured(images)
    yield images * DIMMED
    for exponent in GAMMAS:
        yield images**exponent
    for degrees in TURNS:
        yield _turned(images, math.radians(degrees))
    for _, axes in MIRRORS:
        yield images.flip(axes)


def _coloured(images: Tensor) -> Iterator[Tensor]:
    for share in DARKENED:
        for _, darkened in CASTS:
            yield images * _per_channel([share if c in darkened else 1.0 for c in range(len(GREY))], images)
    grey = (images * _per_channel(GREY, images)).sum(dim=1, keepdim=True)
    for _, tint in TINTS:
        yield (grey * _per_channel(tint, images)).clamp(0, 1)


def _per_channel(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, device=images.device).view(1, -1, 1, 1)


def _turned(images: Tensor, angle: float) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    to_corners = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], device=images.device)
    grid = F.affine_grid(to_corners.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
