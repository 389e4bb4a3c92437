"""Inverting any number of arms within the memory: group by group, each group in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from backdoor_gate.scan.triggers import Arms, Images, InversionBudget, approach, invert, success_rates
from backdoor_gate.scan.triggers.memory import activation_bytes_per_image
from backdoor_gate.scan.triggers.replay import REPLAY_ROWS, SETTLING_IMAGES, SETTLING_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

Found = TypeVar("Found")

REPLAYED_IMAGES = 200
"""Held-out images that a trigger is replayed on at most: its success is known to 2.5 points at 0.85."""


@dataclass(frozen=True, eq=False, slots=True)
class Inverted:
    """The weakest working trigger of each arm, and how often it works on images that it has not seen. All on CPU.

    How often is not known before `replayed`: NaN, on 0 images.

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
    evidence = SETTLING_ROUNDS * min(settling, SETTLING_IMAGES) + min(held_out, REPLAYED_IMAGES)
    return arms * (planned_leading(context) + evidence)


def planned_leading(context: Context) -> int:
    """Return the images that the steps of one arm put through the network."""
    return int(context.settings["steps"] * context.settings["images"])


def invert_arms(context: Context, family: TriggerFamily, arms: Arms, optimise: Images) -> Inverted:
    """Invert all arms in groups that fit the memory.

    Raises:
        FloatingPointError: an optimisation did not stay finite.
    """
    groups: list[Inverted] = []
    for inversion in _in_groups(invert, context, family, arms, optimise):
        unknown = torch.full_like(inversion.strength, torch.nan)
        found = inversion.arms, inversion.strength, inversion.works
        groups.append(Inverted(*found, unknown, torch.zeros_like(unknown), inversion.parameters))
    return _joined(groups)


def approach_arms(context: Context, family: TriggerFamily, arms: Arms, optimise: Images) -> Tensor:
    """Return how promising each arm is, (A,) on CPU, see `triggers.approach`.

    Raises:
        FloatingPointError: an optimisation did not stay finite.
    """
    return torch.cat([found.cpu() for found in _in_groups(approach, context, family, arms, optimise)])


def _in_groups(
    search: Callable[..., Found], context: Context, family: TriggerFamily, arms: Arms, optimise: Images
) -> Iterator[Found]:
    """Yield what a search finds of each group of arms that fits the memory."""
    size = _group_size(context, family, optimise)
    steps = context.settings["steps"]
    total = steps * -(-len(arms) // size)
    classes = arms.own_source()
    classes = arms.target if classes is None else classes
    for at in range(0, len(arms), size):
        # Of two classes, each is the other's only source: not in the order of the arms.
        first, last = (int(end) for end in classes[at : at + size].aminmax())

        def report(done: int, at: int = at, first: int = first, last: int = last) -> None:
            context.report(at // size * steps + done, total, first, last)

        yield search(
            context.subject.leading,
            family,
            arms[at : at + size],
            optimise,
            InversionBudget(steps, context.settings["images"]),
            torch.Generator().manual_seed(context.seed),  # the same for every group: the arms stay comparable
            report,
        )


def replayed(
    subject: Subject, family: TriggerFamily, inverted: Inverted, held_out: Images, exactly: Collection[int]
) -> Inverted:
    """Replay the triggers on held-out images.

    Args:
        subject: the network.
        family: the kind of trigger.
        inverted: the triggers.
        held_out: images that they were not optimised on.
        exactly: positions of the arms that stand out: they are replayed in float32, the others as the search was led,
            at half the cost.
    """
    success = torch.full_like(inverted.strength, torch.nan)
    others = set(range(len(inverted.arms))) - set(exactly)
    for logits, chosen in ((subject.logits, sorted(exactly)), (subject.leading, sorted(others))):
        for at in range(0, len(chosen), REPLAY_ROWS):
            group = torch.tensor(chosen[at : at + REPLAY_ROWS])
            arms = inverted.arms[group].to(held_out.labels.device)
            parameters = tuple(p[group].to(held_out.labels.device) for p in inverted.parameters)
            success[group] = success_rates(logits, family, parameters, arms, held_out, REPLAYED_IMAGES).cpu()
    counts = inverted.arms.weights(held_out.labels.cpu()).sum(dim=1).clamp_max(REPLAYED_IMAGES)
    return replace(inverted, success=success, counts=counts)


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
