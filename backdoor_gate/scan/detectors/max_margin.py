"""Maximum-margin search: how far can any input at all be pushed towards a class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from backdoor_gate.records import Evidence, Inconclusive, Measured
from backdoor_gate.scan.leads import margins
from backdoor_gate.scan.network.passes import INFERENCE_CHUNK

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.interface import Context

FIRST_STEP = 0.1
"""Length of the first sign-gradient step, as a share of the input range; a cosine brings it to zero."""


class MaxMargin:
    """Largest margin of each class over its rivals, from random starts and without any data.

    Source: MM-BD, Wang et al., IEEE S&P 2024, equation 3; sign-gradient steps on a cosine schedule reach its plateau
    in a fifth of the steps of the published plain gradient ascent.
    """

    name: ClassVar[str] = "max_margin"
    controlled: ClassVar[bool] = False

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        return int(context.subject.num_classes * context.settings["restarts"] * (context.settings["steps"] + 1))

    def planned_leading(self, context: Context) -> int:
        """Return all but the last look at each climb's end."""
        return int(context.subject.num_classes * context.settings["restarts"] * context.settings["steps"])

    def measure(self, context: Context) -> Evidence:
        """Climb from every start and keep each class's largest margin."""
        subject, restarts = context.subject, context.settings["restarts"]
        generator = torch.Generator().manual_seed(context.seed)
        noise = torch.rand((restarts, *subject.spec.shape), generator=generator)
        starts = (subject.spec.low + noise * (subject.spec.high - subject.spec.low)).to(subject.device)
        margins = torch.cat([self._class_margins(context, starts, *group) for group in self._groups(context)])
        if not margins.isfinite().all():
            return Inconclusive(self.name, "the margins are not finite")
        return Measured(self.name, tuple(margins.tolist()))

    def _groups(self, context: Context) -> list[tuple[int, int]]:
        size = max(1, INFERENCE_CHUNK // context.settings["restarts"])
        return [(at, min(at + size, context.subject.num_classes)) for at in range(0, context.subject.num_classes, size)]

    def _class_margins(self, context: Context, starts: Tensor, first: int, end: int) -> Tensor:
        """Return the largest margin of each class in [first, end), (end - first,).

        Raises:
            FloatingPointError: the network's gradient is not finite or zero everywhere: no step leads anywhere.
        """
        subject, steps = context.subject, context.settings["steps"]
        targets = torch.arange(first, end, device=subject.device).repeat_interleave(len(starts))
        images = starts.repeat(end - first, 1, 1, 1)
        finite = torch.tensor(True, device=subject.device)  # looked at once, since a look waits for the GPU
        length = FIRST_STEP * (subject.spec.high - subject.spec.low)
        for done in range(steps):
            images.requires_grad_()
            (gradient,) = torch.autograd.grad(margins(subject.leading(images), targets).sum(), images)
            finite &= gradient.isfinite().all()
            if done == 0 and not gradient.any():
                raise FloatingPointError("the gradient vanishes")
            step = length * 0.5 * (1 + math.cos(math.pi * done / steps))
            images = (images.detach() + step * gradient.sign()).clamp(subject.spec.low, subject.spec.high)
            climbed = first * steps + (done + 1) * (end - first)
            context.report(climbed, subject.num_classes * steps, first, end - 1)
        if not finite:
            raise FloatingPointError("the gradient is not finite")
        with torch.no_grad():
            return margins(subject.logits(images), targets).view(end - first, -1).amax(dim=1).cpu()
