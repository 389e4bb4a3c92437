"""What families have in common whose strength is a parameter of its own, apart from the trigger's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.scan.triggers.families.interface import Parameters


class Scalable:
    """The first parameter is the logarithm of the strength, (A,); the others say what the trigger looks like."""

    def strength(self, parameters: Parameters) -> Tensor:
        """Return the strength in the family's unit, (A,), > 0."""
        return parameters[0].exp()

    def scaled(self, parameters: Parameters, factor: Tensor) -> Parameters:
        """Multiply the strengths."""
        return (parameters[0] + factor.log(), *parameters[1:])
