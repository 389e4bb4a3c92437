"""What additive signals with one amplitude have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from backdoor_gate.scan.triggers.families.interface import Parameters, per_arm
from backdoor_gate.scan.triggers.families.scalable import Scalable

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.records import InputSpec


def cosines(size: int, frequencies: int) -> Tensor:
    """Return the first cosines of the DCT-II, each with amplitude 1: (frequencies, size) float64."""
    position = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    return torch.cos(torch.arange(frequencies, dtype=torch.float64)[:, None] * position)


class Additive(Scalable, ABC):
    """x' = clip(x + signal); strength: its amplitude over the input range. The other parameter is its shape."""

    _spec: InputSpec

    @abstractmethod
    def signal(self, parameters: Parameters) -> Tensor:
        """Return the additive signal, (A,C,H,W), in input units."""

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Add the signals: (N,C,H,W) or (A,N,C,H,W) → (A,N,C,H,W)."""
        return (per_arm(images) + self.signal(parameters)[:, None]).clamp(self._spec.low, self._spec.high)
