"""Adam without torch's compiler.

`torch.optim.Optimizer` imports the compiler, only to say that its steps are not for it: two seconds in every scan.
The steps themselves are functions that do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim.adam import adam

if TYPE_CHECKING:
    from collections.abc import Iterable

EPSILON = 1e-8


class Adam:
    """Steps parameters against their gradients as `torch.optim.Adam` does, and with a weight decay as `AdamW`.

    Source: Kingma and Ba, ICLR 2015; the decay: Loshchilov and Hutter, ICLR 2019.

    Attributes:
        rate: of the next step.
        betas: decay rates of the next step's two averages.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float,
        betas: tuple[float, float],
        *,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        """Begin with no step taken.

        Args:
            parameters: leaves that take a gradient, float32.
            rate: as the attribute.
            betas: as the attribute.
            weight_decay: share of a parameter that a step of rate 1 takes away.
            fused: whether all of a step is one operator; None: as torch thinks best.
        """
        self.rate, self.betas = rate, betas
        self._parameters = list(parameters)
        self._averages = [torch.zeros_like(each) for each in self._parameters]
        self._squares = [torch.zeros_like(each) for each in self._parameters]
        self._steps = [torch.zeros((), device=each.device if fused else "cpu") for each in self._parameters]
        self._weight_decay, self._fused = weight_decay, fused

    def forget_gradients(self) -> None:
        """Drop the gradients: the next ones begin at nothing."""
        for each in self._parameters:
            each.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step; every parameter has a gradient."""
        adam(
            self._parameters,
            [each.grad for each in self._parameters if each.grad is not None],
            self._averages,
            self._squares,
            [],
            self._steps,
            fused=self._fused,
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )
