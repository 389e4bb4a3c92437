"""A trigger family and networks so simple that the weakest working trigger is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor

from backdoor_gate.scan.triggers.arms import Arms
from backdoor_gate.scan.triggers.families.interface import per_arm
from backdoor_gate.scan.triggers.schedule import ScheduleSettings

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.triggers.families import TriggerFamily
    from backdoor_gate.scan.triggers.families.interface import Parameters


class Brightness:
    """x' = x + a, unbounded; strength a."""

    learning_rate: ClassVar[float] = 0.1
    schedule: ClassVar[ScheduleSettings] = ScheduleSettings(initial=1.0)
    follows_image: ClassVar[bool] = False

    def __init__(self, spec: InputSpec) -> None:
        del spec

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Start at 1."""
        del generator
        return (torch.ones(arms),)

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Brighten: (N,C,H,W) → (A,N,C,H,W)."""
        return per_arm(images) + parameters[0].view(-1, 1, 1, 1, 1)

    def strength(self, parameters: Parameters) -> Tensor:
        """Return the amounts, (A,)."""
        return parameters[0]

    def scaled(self, parameters: Parameters, factor: Tensor) -> Parameters:
        """Multiply the amounts."""
        return (parameters[0] * factor,)


def _follows_the_interface(spec: InputSpec) -> TriggerFamily:
    return Brightness(spec)


def threshold(images: Tensor, at: float = 0.0) -> Tensor:
    """Logits of two classes: 1 for images whose mean is at least `at`, else 0."""
    return torch.stack([torch.zeros(len(images)), torch.where(images.mean(dim=(1, 2, 3)) >= at, 1.0, -1.0)], dim=1)


def to_class_one(count: int = 1) -> Arms:
    """Return arms that must move the images of class 0 to class 1."""
    return Arms(torch.ones(count, dtype=torch.int64), torch.tensor([[True, False]] * count))
