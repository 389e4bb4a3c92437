"""Signals that a small network generates from each image."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.triggers.families.interface import Parameters, per_arm
from backdoor_gate.scan.triggers.families.scalable import Scalable
from backdoor_gate.scan.triggers.schedule import ScheduleSettings

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec


PLACES = (((1.0, 0, 0), (0, 1, 1), (0, 0, 0)), ((0, 0, 0), (1, 1, 0), (0, 0, 1)))
"""Along one axis, for the first and the second pixel of a doubled one: which single pixel (rows) each of a kernel's
three (columns) falls on."""


@cache
def _places(device: torch.device) -> Tensor:
    return torch.tensor(PLACES).to(device)


def for_doubled(kernels: Tensor) -> Tensor:
    """Return kernels that give on an image what these give on it with every pixel doubled along both axes.

    Args:
        kernels: (M, C, 3, 3).

    Returns:
        (4·M, C, 3, 3): the four pixels of a doubled one are channels beside each other.
    """
    places = _places(kernels.device)
    return torch.einsum("atk,bul,mckl->mabctu", places, places, kernels).flatten(0, 2)


def unfolded(blocks: Tensor, arms: int) -> Tensor:
    """Return (N, arms·C·4, H, W) with the four channels beside each other as pixels: (arms, N, C, 2·H, 2·W)."""
    count, _, height, width = blocks.shape
    pixels = blocks.view(count, arms, -1, 2, 2, height, width).permute(1, 0, 2, 5, 3, 6, 4)
    return pixels.reshape(arms, count, -1, 2 * height, 2 * width)


class Generated(Scalable):
    """x' = clip(x + ε·g(x)/rms g(x)), g three 3×3 convolutions at half resolution; strength ε / input range.

    The strength is the root of the mean square of what is added, before clipping. The trigger may differ from image to
    image, the rule that makes it may not. The size of g's output is divided out, so that the penalty acts on one number
    and leaves the rule alone.

    Source of the attack: input-aware backdoors, Nguyen and Tran, NeurIPS 2020, whose generator is larger.
    """

    learning_rate: ClassVar[float] = 0.05
    schedule: ClassVar[ScheduleSettings] = ScheduleSettings(initial=1.0)
    follows_image: ClassVar[bool] = True

    WIDTH: ClassVar[int] = 8
    """Channels between the convolutions."""
    SIDE: ClassVar[int] = 3
    """Pixels on a side of the kernels."""
    STRIDE: ClassVar[int] = 2
    """Of the first convolution."""
    START: ClassVar[float] = 0.1
    """First strength."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        channels = spec.shape[0]
        self._layers = tuple(pairwise((channels, self.WIDTH, self.WIDTH, channels)))

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Start every arm from the same random generator (He's start)."""
        parameters = [torch.full((arms,), math.log(self.START))]
        for inputs, outputs in self._layers:
            deviation = math.sqrt(2 / (inputs * self.SIDE**2))
            weight = deviation * torch.randn((1, outputs, inputs, self.SIDE, self.SIDE), generator=generator)
            bias = 0.1 * torch.randn((1, outputs), generator=generator)
            parameters += [weight.repeat(arms, 1, 1, 1, 1), bias.repeat(arms, 1)]
        return tuple(parameters)

    def signal(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Return what is added to each image, in input units: (N,C,H,W) or (A,N,C,H,W) → (A,N,C,H,W)."""
        span = self._spec.high - self._spec.low
        shared = per_arm((images - (self._spec.low + self._spec.high) / 2) / span)
        # Each arm's channels side by side: one convolution for all arms. The first reads shared images once.
        hidden, groups = shared.transpose(0, 1).flatten(1, 2), shared.shape[0]
        arms, last = len(parameters[0]), len(self._layers) - 1
        for index, (weight, bias) in enumerate(zip(parameters[1::2], parameters[2::2], strict=True)):
            kernels, offset = weight.flatten(0, 1), bias.flatten()
            if index == last:
                kernels, offset = for_doubled(kernels), offset.repeat_interleave(self.STRIDE**2)
            hidden = hidden.contiguous(memory_format=torch.channels_last)  # else groups are several times slower
            step = self.STRIDE if index == 0 else 1
            hidden = F.conv2d(hidden, kernels, offset, step, self.SIDE // 2, groups=groups)
            hidden, groups = hidden if index == last else F.relu(hidden), arms
        shape = unfolded(hidden, arms)[..., : images.shape[-2], : images.shape[-1]]
        size = (shape.square().mean(dim=(2, 3, 4), keepdim=True) + 1e-12).sqrt()
        return shape / size * (span * self.strength(parameters)).view(-1, 1, 1, 1, 1)

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Add to each image its own signal: (N,C,H,W) or (A,N,C,H,W) → (A,N,C,H,W)."""
        return (per_arm(images) + self.signal(parameters, images)).clamp(self._spec.low, self._spec.high)
