"""Smooth geometric distortions."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.triggers.families.interface import per_arm
from backdoor_gate.scan.triggers.families.scalable import Scalable
from backdoor_gate.scan.triggers.schedule import ScheduleSettings

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.triggers.families.interface import Parameters


@cache
def bicubic_basis(size: int, points: int, device: torch.device) -> Tensor:
    """Return what each control point adds to each place in between: (points, size) float32.

    As `interpolate` does it, corner on corner, which is a matrix product along either axis, only dearer.
    """
    row = F.interpolate(torch.eye(points)[:, None, None], size=(1, size), mode="bicubic", align_corners=True)
    return row[:, 0, 0].to(device)


@cache
def places(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where `grid_sample` has every pixel, (H, W, 2), and how far a pixel is from the next, (2,); x first."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    apart = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    return torch.stack((x, y), dim=-1).to(device), apart.to(device)


class Warp(Scalable):
    """x'(q) = x(q + d·f(q)/max|f|), f a 5×5 grid of offsets, bicubic in between; strength d in pixels.

    It is the largest displacement along an axis.

    Source of the attack: WaNet, Nguyen and Tran, ICLR 2021, section 3.2 (control grid, bicubic upsampling, clipping).
    """

    learning_rate: ClassVar[float] = 0.2
    schedule: ClassVar[ScheduleSettings] = ScheduleSettings(initial=0.5)
    follows_image: ClassVar[bool] = True

    GRID: ClassVar[int] = 5
    START: ClassVar[float] = 1.0
    """First displacement, in pixels."""

    SPREAD: ClassVar[float] = 0.5
    """Standard deviation of the first offsets, of which only the ratios count, see `Spectral.SPREAD`."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Start every arm from the same random one-pixel warp."""
        offsets = self.SPREAD * torch.randn((1, 2, self.GRID, self.GRID), generator=generator)
        return torch.full((arms,), math.log(self.START)), offsets.repeat(arms, 1, 1, 1)

    def flow(self, parameters: Parameters) -> Tensor:
        """Return the displacement of every pixel as (A, H, W, 2), in pixels, x first."""
        _, offsets = parameters
        rows, columns = (bicubic_basis(size, self.GRID, offsets.device) for size in self._spec.shape[1:])
        field = rows.T @ offsets @ columns  # (A, 2, H, W)
        peak = field.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        return (field / peak * self.strength(parameters)[:, None, None, None]).permute(0, 2, 3, 1)

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Warp the images: (N,C,H,W) or (A,N,C,H,W) → (A,N,C,H,W)."""
        images = per_arm(images)
        _, count, channels, height, width = images.shape
        flow = self.flow(parameters)
        arms = flow.shape[0]
        place, apart = places(height, width, images.device)
        where = place + flow * apart  # (A, H, W, 2) in [-1, 1]
        where = where.nan_to_num(posinf=2.0, neginf=-2.0)  # grid_sample reads beyond the image where a place is NaN
        stacked = images.flatten(1, 2).expand(arms, -1, -1, -1)
        warped = F.grid_sample(stacked, where, mode="bilinear", padding_mode="border", align_corners=True)
        return warped.view(arms, count, channels, height, width)
