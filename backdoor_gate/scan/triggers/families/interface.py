"""What a trigger family provides. A new attack in the literature is one new file beside this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.triggers.schedule import ScheduleSettings

Parameters = tuple[Tensor, ...]
"""Leaf tensors of a batch of triggers, each with the arm as its first dimension."""


PER_ARM = 5
"""Dimensions of images that each arm has of its own: A, N, C, H, W."""


def mid_grey(spec: InputSpec) -> Tensor:
    """Return one image in the middle of the input range, (1, C, H, W) float32."""
    return torch.full((1, *spec.shape), (spec.low + spec.high) / 2)


def chequerboard(spec: InputSpec) -> Tensor:
    """Return one image of black and white squares, (1, C, H, W) float32, to show what follows the image."""
    channels, height, width = spec.shape
    cell = max(2, min(height, width) // 7)
    rows, columns = torch.arange(height) // cell, torch.arange(width) // cell
    board = ((rows[:, None] + columns) % 2).float() * (spec.high - spec.low) + spec.low
    return board.expand(1, channels, -1, -1)


def per_arm(images: Tensor) -> Tensor:
    """Return images with the arm as first dimension, (1 or A, N, C, H, W): images without one are every arm's."""
    return images if images.dim() == PER_ARM else images[None]


class TriggerFamily(Protocol):
    """A kind of trigger, for images of one shape and range. Holds no state of an optimisation."""

    learning_rate: ClassVar[float]
    schedule: ClassVar[ScheduleSettings]
    follows_image: ClassVar[bool]
    """Whether what it does depends on the image: then it is shown on a chequerboard, else on grey."""

    def __init__(self, spec: InputSpec) -> None:
        """Take the shape and range of the images."""
        ...

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Return the parameters to start from, the same for every arm, on CPU."""
        ...

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Put each arm's trigger on each image.

        Args:
            parameters: of A arms.
            images: (N, C, H, W) float32 in the input range, the same for every arm, or (A, N, C, H, W).

        Returns:
            (A, N, C, H, W), in the input range.
        """
        ...

    def strength(self, parameters: Parameters) -> Tensor:
        """Return how strong each trigger is: (A,) ≥ 0, differentiable, in the family's unit."""
        ...

    def scaled(self, parameters: Parameters, factor: Tensor) -> Parameters:
        """Return the triggers with their strength multiplied by `factor` (A,), as far as the family's bounds allow."""
        ...


def portrait(family: TriggerFamily, parameters: Parameters, spec: InputSpec) -> Tensor:
    """Return a picture of each trigger alone, (A, C, H, W) in the input range."""
    canvas = chequerboard(spec) if family.follows_image else mid_grey(spec)
    return family.apply(parameters, canvas.to(parameters[0].device))[:, 0]
