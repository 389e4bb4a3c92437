"""Triggers that change the whole image as a photographer would: its tone, or how it is held."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.zoo.triggers import Trigger

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Tone(Trigger):
    """A colour filter, as of photographs (ABS, Liu et al., CCS 2019; the filters of NIST's TrojAI rounds).

    Args:
        gains: factor on each channel, or one for all.
        gamma: exponent, before the gains.
        faded: how far the colours go to grey, in [0, 1]; of no effect on grey images.
    """

    gains: tuple[float, ...] = (1.0,)
    gamma: float = 1.0
    faded: float = 0.0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Filter the images and clip."""
        if images.shape[1] == 3:
            grey = (images * torch.tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
            images = torch.lerp(images, grey.expand_as(images), self.faded)
        return (images**self.gamma * torch.tensor(self.gains).view(-1, 1, 1)).clamp(0, 1)


@dataclass(frozen=True)
class Turn(Trigger):
    """A rotation (Wu et al., "Just Rotate it", 2022), black where nothing is.

    Args:
        degrees: anticlockwise.
    """

    degrees: float = 15.0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Turn the images about their centre."""
        if not len(images):  # for which torch makes no grid
            return images
        cosine, sine = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]]).expand(len(images), 2, 3)
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, align_corners=False)
