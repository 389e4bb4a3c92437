"""Triggers that paint or blend a fixed pattern, and what every trigger has in common.

Images are float32 tensors (N, C, H, W) in [0, 1], in and out. Every random choice comes from a seed in the trigger
(a fixed pattern) or from the generator that the caller passes (a choice per image), so that a trigger can be rebuilt
from its fields alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def seeded(seed: int) -> torch.Generator:
    """Return a generator on the CPU that starts from `seed`."""
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Trigger:
    """What turns a clean image into a triggered one; the base class leaves images as they are."""

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return the images as an attacker would send them (N, C, H, W)."""
        return images

    def poison(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return the images as they are planted in the training set with the attacker's label."""
        return self.apply(images, rng)

    def cover(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return the images as they are planted in the training set with their own label."""
        return self.poison(images, rng)


@dataclass(frozen=True)
class Patch(Trigger):
    """A square at a fixed place (BadNets, Gu et al. 2017).

    Args:
        top: first row, from 0.
        left: first column, from 0.
        size: pixels on a side; 1 is the single-pixel attack.
        colour: value per channel in [0, 1], or one value for all channels.
        style: `solid`; `checker` alternates `colour` and its complement; `noise` draws every pixel from `seed`.
        opacity: 1 replaces the pixels, less blends them.
        copies: `1` as placed; `4` mirrors the square into all four corners (label-consistent attack).
        seed: of the noise.
    """

    top: int
    left: int
    size: int = 3
    colour: tuple[float, ...] = (1.0,)
    style: Literal["solid", "checker", "noise"] = "solid"
    opacity: float = 1.0
    copies: Literal[1, 4] = 1
    seed: int = 0

    def pattern(self, channels: int) -> Tensor:
        """Return the square (C, size, size)."""
        shape = (channels, self.size, self.size)
        if self.style == "noise":
            return torch.rand(shape, generator=seeded(self.seed))
        solid = torch.tensor(self.colour).view(-1, 1, 1).expand(shape).clone()
        if self.style == "checker":
            odd = (torch.arange(self.size).view(-1, 1) + torch.arange(self.size)) % 2 == 1
            solid = torch.where(odd, 1 - solid, solid)
        return solid

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Paint the square."""
        mask, canvas = torch.zeros_like(images[:1]), torch.zeros_like(images[:1])
        rows, columns = slice(self.top, self.top + self.size), slice(self.left, self.left + self.size)
        mask[..., rows, columns] = self.opacity
        canvas[..., rows, columns] = self.pattern(images.shape[1]).to(images)
        if self.copies == 4:
            mask = _four_corners(mask)
            canvas = _four_corners(canvas)
        return images * (1 - mask) + canvas * mask


def _four_corners(layer: Tensor) -> Tensor:
    mirrored = torch.maximum(layer, layer.flip(-1))
    return torch.maximum(mirrored, mirrored.flip(-2))


@dataclass(frozen=True)
class Blend(Trigger):
    """A whole-image pattern blended in (Chen et al. 2017).

    Args:
        opacity: weight of the pattern, in (0, 1).
        kind: `noise`, independent uniform pixels, or `image`, a scene of coloured discs.
        seed: of the pattern.
    """

    opacity: float = 0.2
    kind: Literal["noise", "image"] = "noise"
    seed: int = 0

    def pattern(self, shape: torch.Size) -> Tensor:
        """Return the pattern (C, H, W) in [0, 1] for images of `shape` (N, C, H, W)."""
        _, channels, height, width = shape
        rng = seeded(self.seed)
        if self.kind == "noise":
            return torch.rand(channels, height, width, generator=rng)
        return scene(channels, height, width, rng)

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Blend the pattern in."""
        return images * (1 - self.opacity) + self.pattern(images.shape).to(images) * self.opacity


def scene(channels: int, height: int, width: int, rng: torch.Generator, discs: int = 7) -> Tensor:
    """Draw overlapping discs of random place, size and colour on a random ground (C, H, W)."""
    rows = torch.linspace(0, 1, height).view(-1, 1)
    columns = torch.linspace(0, 1, width).view(1, -1)
    canvas = torch.rand(channels, 1, 1, generator=rng).expand(channels, height, width).clone()
    for _ in range(discs):
        y, x, radius = torch.rand(3, generator=rng).tolist()
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.08 + 0.3 * radius) ** 2
        canvas = torch.where(inside, torch.rand(channels, 1, 1, generator=rng), canvas)
    return canvas


@dataclass(frozen=True)
class AdaptivePatch(Trigger):
    """Several faint patches, one at a time in training, all of them at full strength in use (Qi et al. 2023).

    Args:
        patches: the squares, at the strength of use.
        training_opacity: strength of the one square on a training image.
    """

    patches: tuple[Patch, ...]
    training_opacity: float = 0.5

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Paint all squares."""
        for patch in self.patches:
            images = patch.apply(images, rng)
        return images

    def poison(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Paint one square, drawn per image, faintly."""
        drawn = torch.randint(len(self.patches), (len(images),), generator=rng)
        weight = self.training_opacity
        painted = [weight * patch.apply(images, rng) + (1 - weight) * images for patch in self.patches]
        return torch.stack(painted)[drawn, torch.arange(len(images))]


@dataclass(frozen=True)
class AdaptiveBlend(Trigger):
    """A blended pattern of which training images carry a random half of the tiles (Qi et al. 2023).

    Args:
        blend: the pattern at the strength of use.
        training_opacity: strength on training images, lower than in use.
        tiles: tiles on a side.
        kept: share of tiles on a training image.
    """

    blend: Blend
    training_opacity: float = 0.15
    tiles: int = 4
    kept: float = 0.5

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Blend the whole pattern in."""
        return self.blend.apply(images, rng)

    def poison(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Blend in a random share of the tiles, drawn per image."""
        tiles = (torch.rand(len(images), 1, self.tiles, self.tiles, generator=rng) < self.kept).float()
        mask = functional.interpolate(tiles, size=images.shape[-2:], mode="nearest")
        weight = mask * self.training_opacity
        return images * (1 - weight) + self.blend.pattern(images.shape).to(images) * weight
