"""What additive signals with one amplitude have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from backdoor_gate.scan.triggers.families.interface import Parameters, mid_grey, per_arm

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.records import InputSpec


class Additive(ABC):
    """x' = clip(x + signal): the first parameter is the logarithm of the amplitude, the second the signal's shape."""

    _spec: InputSpec

    @abstractmethod
    def signal(self, parameters: Parameters) -> Tensor:
        """Return the additive signal, (A,C,H,W), in input units."""

    def apply(self, parameters: Parameters, images: Tensor) -> Tensor:
        """Add the signals: (N,C,H,W) or (A,N,C,H,W) → (A,N,C,H,W)."""
        return (per_arm(images) + self.signal(parameters)[:, None]).clamp(self._spec.low, self._spec.high)

    def strength(self, parameters: Parameters) -> Tensor:
        """Return the amplitude over the input range, (A,), > 0."""
        return parameters[0].exp()

    def scaled(self, parameters: Parameters, factor: Tensor) -> Parameters:
        """Multiply the amplitudes."""
        amplitude, coefficients = parameters
        return amplitude + factor.log(), coefficients

    def portrait(self, parameters: Parameters) -> Tensor:
        """Show the signals on mid-grey, (A,C,H,W)."""
        return self.apply(parameters, mid_grey(self._spec).to(parameters[0].device))[:, 0]
