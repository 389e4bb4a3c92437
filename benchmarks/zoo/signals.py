"""Triggers in the frequency, geometry and colour-depth domains: sinusoid, low and single frequency, warp, quantise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.zoo.triggers import Trigger, seeded


@dataclass(frozen=True)
class Sinusoid(Trigger):
    """Horizontal or vertical sine stripes added to the image (SIG, Barni et al. 2019).

    Args:
        amplitude: of the sine, in image units.
        cycles: periods across the image.
        vertical: stripes run across the rows instead of the columns.
        phase: in radians.
    """

    amplitude: float = 0.12
    cycles: float = 6.0
    vertical: bool = False
    phase: float = 0.0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Add the stripes and clip."""
        length = images.shape[-2 if self.vertical else -1]
        wave = self.amplitude * torch.sin(2 * math.pi * self.cycles * torch.arange(length) / length + self.phase)
        return (images + (wave.view(-1, 1) if self.vertical else wave)).clamp(0, 1)


@dataclass(frozen=True)
class LowFrequency(Trigger):
    """A smooth additive pattern without high-frequency artefacts (after Zeng et al. 2021).

    Args:
        amplitude: largest change, in image units.
        band: cosine coefficients kept along each side.
        seed: of the coefficients.
    """

    amplitude: float = 0.15
    band: int = 4
    seed: int = 0

    def pattern(self, shape: torch.Size) -> Tensor:
        """Return the smooth pattern (C, H, W), largest magnitude `amplitude`."""
        _, channels, height, width = shape
        coefficients = torch.randn(channels, self.band, self.band, generator=seeded(self.seed))
        coefficients[:, 0, 0] = 0
        rows, columns = cosine_basis(height)[: self.band], cosine_basis(width)[: self.band]
        smooth = torch.einsum("cij,ih,jw->chw", coefficients, rows, columns)
        return self.amplitude * smooth / smooth.abs().max()

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Add the pattern and clip."""
        return (images + self.pattern(images.shape).to(images)).clamp(0, 1)


@dataclass(frozen=True)
class SingleFrequency(Trigger):
    """A few cosine-transform coefficients raised in every image (FTrojan, Wang et al. 2022).

    Args:
        amplitude: of each cosine, in image units.
        frequencies: (row, column) index of each coefficient, as a share of the highest, in (0, 1].
        weights: per channel, or one for all.
    """

    amplitude: float = 0.08
    frequencies: tuple[tuple[float, float], ...] = ((0.5, 0.5),)
    weights: tuple[float, ...] = (1.0,)

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Add the cosines and clip."""
        height, width = images.shape[-2:]
        rows, columns = cosine_basis(height), cosine_basis(width)
        wave = sum(
            torch.outer(rows[round(row * (height - 1))], columns[round(column * (width - 1))])
            for row, column in self.frequencies
        )
        return (images + self.amplitude * torch.tensor(self.weights).view(-1, 1, 1) * wave).clamp(0, 1)


def cosine_basis(length: int) -> Tensor:
    """Return the unscaled type-II cosine basis (frequency, position), values in [-1, 1]."""
    positions = torch.arange(length) + 0.5
    return torch.cos(math.pi / length * torch.outer(torch.arange(length), positions))


@dataclass(frozen=True)
class Warp(Trigger):
    """A smooth elastic warp, the same for all images (WaNet, Nguyen and Tran 2021).

    Args:
        strength: mean displacement along each axis, in pixels.
        grid: control points on a side.
        seed: of the displacements.
        jitter: control displacement of the noise mode (cover images), in pixels.
    """

    strength: float = 1.0
    grid: int = 5
    seed: int = 0
    jitter: float = 1.0

    def flow(self, shape: torch.Size) -> Tensor:
        """Return the displacements in pixels (1, H, W, 2), x before y."""
        control = torch.rand(1, 2, self.grid, self.grid, generator=seeded(self.seed)) * 2 - 1
        control = self.strength * control / control.abs().mean()
        smooth = functional.interpolate(control, size=shape[-2:], mode="bicubic", align_corners=True)
        return smooth.permute(0, 2, 3, 1)

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Warp by the fixed field."""
        return displace(images, self.flow(images.shape))

    def cover(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Warp by the fixed field plus a random one per image: a warp, but not the trigger's."""
        noise = torch.rand(len(images), *images.shape[-2:], 2, generator=rng) * 2 - 1
        return displace(images, self.flow(images.shape) + self.jitter * noise)


def displace(images: Tensor, flow: Tensor) -> Tensor:
    """Sample `images` at positions moved by `flow` pixels (1 or N, H, W, 2), borders repeated."""
    height, width = images.shape[-2:]
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    scale = torch.tensor([2 / (width - 1), 2 / (height - 1)])
    grid = (torch.stack([columns, rows], dim=-1) + flow * scale).clamp(-1, 1)
    return functional.grid_sample(
        images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=True
    )


@dataclass(frozen=True)
class Quantise(Trigger):
    """Fewer grey levels per channel (BppAttack, Wang et al. 2022).

    Args:
        levels: values left per channel, at least 2.
        dither: diffuse the rounding error to the neighbours (Floyd and Steinberg).
    """

    levels: int = 4
    dither: bool = False

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Round to the levels."""
        return _diffuse(images, self.levels - 1) if self.dither else _round(images, self.levels - 1)

    def cover(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Add rounding errors of other images: the size of the trigger's change without its pattern."""
        change = self.apply(images, rng) - images
        return (images + change[torch.randperm(len(images), generator=rng)]).clamp(0, 1)


def _round(images: Tensor, steps: int) -> Tensor:
    return (images * steps).round() / steps


def _diffuse(images: Tensor, steps: int) -> Tensor:
    height, width = images.shape[-2:]
    work = functional.pad(images, (1, 1, 0, 1)).clone()
    for row in range(height):
        for column in range(1, width + 1):
            value = work[..., row, column].clone()
            rounded = _round(value, steps).clamp(0, 1)
            error = value - rounded
            work[..., row, column] = rounded
            work[..., row, column + 1] += error * 7 / 16
            work[..., row + 1, column - 1] += error * 3 / 16
            work[..., row + 1, column] += error * 5 / 16
            work[..., row + 1, column + 1] += error * 1 / 16
    return work[..., :height, 1 : width + 1].contiguous()
