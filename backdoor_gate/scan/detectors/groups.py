"""Inverting any number of arms within the memory: group by group, each group in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.scan.triggers import Arms, Images, InversionBudget, invert, success_rates
from backdoor_gate.scan.triggers.memory import activation_bytes_per_image
from backdoor_gate.scan.triggers.replay import SETTLING_IMAGES, SETTLING_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily


REPLAYED_IMAGES = 200
"""Held-out images that a trigger is replayed on at most: its success is known to 2.5 points at 0.85."""


@dataclass(frozen=True, eq=False, slots=True)
class Inverted:
    """The weakest working trigger of each arm, and how often it works on images that it has not seen. All on CPU.

    Attributes:
        arms: A, with the target where each has ended up.
        strength: (A,) float32 in the family's unit.
        works: (A,) bool, on the images that it was optimised on.
        success: (A,) float32 in [0, 1], on the held-out images of the arm's sources; NaN with none.
        counts: (A,) float32, how many those are.
        parameters: of the A triggers.
    """

    arms: Arms
    strength: Tensor
    works: Tensor
    success: Tensor
    counts: Tensor
    parameters: Parameters

    def finite(self) -> bool:
        """Tell whether the optimisation has stayed finite."""
        return bool(self.strength.isfinite().all() and all(p.isfinite().all() for p in self.parameters))

    def strengths(self) -> tuple[float | None, ...]:
        """Return each arm's strength, None where its trigger does not work."""
        return tuple(float(s) if ok else None for s, ok in zip(self.strength, self.works, strict=True))

    def rates(self, fewest: int) -> tuple[float | None, ...]:
        """Return each arm's success on the held-out images, None where those are fewer than `fewest`."""
        measured = zip(self.success, self.counts, strict=True)
        return tuple(float(rate) if count >= fewest else None for rate, count in measured)


def planned_passes(context: Context, arms: int, settling: int, held_out: int) -> int:
    """Estimate the images that so many arms put through the network.

    Args:
        context: with the budget.
        arms: how many.
        settling: images of one arm to optimise on.
        held_out: images of one arm to replay on.
    """
    optimising = int(context.settings["steps"] * context.settings["images"])
    return arms * (optimising + SETTLING_ROUNDS * min(settling, SETTLING_IMAGES) + min(held_out, REPLAYED_IMAGES))


def invert_arms(context: Context, family: TriggerFamily, arms: Arms, optimise: Images, held_out: Images) -> Inverted:
    """Invert all arms in groups that fit the memory, then replay each trigger on the held-out images.

    Raises:
        FloatingPointError: an optimisation did not stay finite.
    """
    size = _group_size(context, family, optimise)
    steps = context.settings["steps"]
    total = steps * -(-len(arms) // size)
    classes = arms.own_source()
    classes = arms.target if classes is None else classes
    groups: list[Inverted] = []
    for at in range(0, len(arms), size):
        first, last = int(classes[at]), int(classes[min(at + size, len(arms)) - 1])

        def report(done: int, at: int = at, first: int = first, last: int = last) -> None:
            context.report(at // size * steps + done, total, first, last)

        inversion = invert(
            context.subject.leading,
            family,
            arms[at : at + size],
            optimise,
            InversionBudget(steps, context.settings["images"]),
            torch.Generator().manual_seed(context.seed),  # the same for every group: the arms stay comparable
            report,
        )
        resolved, parameters = inversion.arms, inversion.parameters
        success = success_rates(context.subject.logits, family, parameters, resolved, held_out, REPLAYED_IMAGES)
        counts = resolved.weights(held_out.labels).sum(dim=1).clamp_max(REPLAYED_IMAGES)
        groups.append(Inverted(resolved, inversion.strength, inversion.works, success, counts, parameters))
    return _joined(groups)


def _group_size(context: Context, family: TriggerFamily, images: Images) -> int:
    """Return how many arms fit into the memory at once: from shapes, never from timing."""
    count = min(int(context.settings["images"]), len(images))
    per_image = activation_bytes_per_image(context.subject.leading, family, images[:2])
    return max(1, context.activation_bytes // (per_image * count))


def _joined(groups: Sequence[Inverted]) -> Inverted:
    def join(*parts: Tensor) -> Tensor:
        return torch.cat(parts).cpu()

    return Inverted(
        Arms(join(*(g.arms.target for g in groups)), join(*(g.arms.source for g in groups))),
        join(*(g.strength for g in groups)),
        join(*(g.works for g in groups)),
        join(*(g.success for g in groups)),
        join(*(g.counts for g in groups)),
        tuple(join(*tensors) for tensors in zip(*(g.parameters for g in groups), strict=True)),
    )
