"""Patches: a mask shared by the colours, and a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor

from backdoor_gate.scan.triggers.families.interface import Parameters, per_arm
from backdoor_gate.scan.triggers.schedule import ScheduleSettings

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec


class Patch:
    """x' = (1 - m)·x + m·p with mask m (A,1,H,W) and pattern p (A,C,H,W); strength L1(m)/(H·W).

    Source: Neural Cleanse, Wang et al., IEEE S&P 2019, equations 2 and 3. Mask and pattern are squashed by a sigmoid
    instead of a clamp, so that their gradients never vanish at a bound.
    """

    learning_rate: ClassVar[float] = 0.2
    schedule: ClassVar[ScheduleSettings] = ScheduleSettings(initial=10.0, bar=0.9)
    follows_image: ClassVar[bool] = False

    START: ClassVar[float] = 0.0
    """Logit of the first mask (0.5 everywhere): so strong that most triggers work within ten steps, and shrink from
    then on."""

    CONTRAST: ClassVar[float] = 3.0
    """Factor of the pattern's logits: the colours settle sooner than the mask."""

    NOISE: ClassVar[float] = 0.03
    """Standard deviation of the first pattern's logits, before the factor."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Start every arm from a half-opaque uniform mask and a mid-range pattern with a little noise."""
        channels, height, width = self._spec.shape
        mask = torch.full((arms, 1, height, width), self.START)
        noise = torch.randn((1, channels, height, width), generator=generator)
        pattern = (self.NOISE * noise).repeat(arms, 1, 1, 1)
        return mask, pattern

    def mask_and_pattern(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Return the mask (A,1,H,W) in [0, 1] and the pattern (A,C,H,W) in the input range."""
        mask, pattern = parameters
        low, high = self._spec.low, self._spec.high
        return torch.sigmoid(mask), low + (high - low) * torch.sigmoid(self.CONTRAST * pattern)

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Put the patches on: (N,C,H,W) or (A,N,C,H,W) → (A,N,C,H,W)."""
        mask, pattern = self.mask_and_pattern(parameters)
        return torch.lerp(per_arm(images), pattern[:, None], mask[:, None])

    def strength(self, parameters: Parameters) -> Tensor:
        """Return the share of the image that the mask covers, (A,) in [0, 1]."""
        return torch.sigmoid(parameters[0]).mean(dim=(1, 2, 3))

    def scaled(self, parameters: Parameters, factor: Tensor) -> Parameters:
        """Multiply the masks, up to opaque."""
        mask, pattern = parameters
        opacity = (torch.sigmoid(mask) * factor[:, None, None, None]).clamp(1e-7, 1 - 1e-6)
        return torch.logit(opacity), pattern
