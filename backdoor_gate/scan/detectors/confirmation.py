"""A second look at the triggers that stand out most: are they found again, and are they the class's own features?

Each is inverted again from another seed with the halves of the images exchanged, so that neither a lucky run nor an
overfit to a few images repeats. And what it does within the network is compared with what distinguishes real images of
the class, after the symmetric feature differencing of EX-RAY, Liu et al., CVPR 2022: see `network.depths.likeness`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from backdoor_gate.plausible import strongest
from backdoor_gate.scan.detectors import groups
from backdoor_gate.scan.network.depths import likeness
from backdoor_gate.scan.network.subject import OutOfTimeError
from backdoor_gate.trigger_facts import Confirmation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from backdoor_gate.scan.detectors.groups import Inverted
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Arms, Images
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

ONE_IN = 9
"""Arms for each one that is looked at again; at least one is. Of pairs of ten classes that is one for each source."""

COMPARED_IMAGES = 32
"""Images of an arm's sources, and of its target, that are compared within the network at most; of one source alone,
whose images are more alike, half as many."""

NEAR = 1.25
"""Factor on the strongest trigger that counts, up to which classes are looked at again: near their limits two detectors
count together, and now and then the second look finds a weaker one."""

PROGRESS = 1 << 16
"""Units of progress for each arm: finer than any number of steps."""


class Stages(NamedTuple):
    """The contexts of a detector's three parts; not all have the first."""

    screening: Context
    search: Context
    second: Context


def looked_at(arms: int) -> int:
    """Return how many of so many arms are looked at again."""
    return max(1, arms // ONE_IN)


def weak_enough(
    context: Context, detector: str, inverted: Inverted, leading: Iterable[int], near: float = 1.0
) -> list[int]:
    """Return those of the arms whose trigger is weak enough to count, in the order given.

    Args:
        context: of the detector.
        detector: its name.
        inverted: all arms.
        leading: positions of arms with a working trigger.
        near: factor on the strength of the strongest that counts.
    """
    most = near * strongest(detector, context.subject.spec.side, clean_images=context.probes.clean)
    return [at for at in leading if float(inverted.strength[at]) <= most]


def planned_passes(context: Context, arms: int, settling: int, held_out: int) -> int:
    """Return the images that the second look puts through the network, about.

    Args:
        context: with the budget.
        arms: how many were inverted.
        settling: images of one arm to optimise on, the first time.
        held_out: images of one arm to replay on, the first time.
    """
    again = looked_at(arms)
    of_class = len(context.probes) // (2 * context.subject.num_classes)
    most = _compared(held_out <= of_class)
    compared = 2 * again * (2 * min(most, held_out) + min(most, of_class))
    return groups.planned_passes(context, again, held_out, settling) + compared


def planned_leading(context: Context, arms: int) -> int:
    """Return the images that the steps of so many arms and of their second look put through the network."""
    return (arms + looked_at(arms)) * groups.planned_leading(context)


def stages(context: Context, arms: int, screening: int = 0) -> Stages:
    """Return the contexts of the screening, of the search over so many arms and of the second look.

    Their progress is one.

    Args:
        context: of the detector.
        arms: how many are searched in full.
        screening: images that the screening puts through the network.
    """
    shares = (screening / groups.planned_leading(context), arms, looked_at(arms))
    whole = round(PROGRESS * sum(shares))

    def reporting(stage: int) -> Callable[[int, int, int, int], None]:
        def report(done: int, total: int, first: int, last: int) -> None:
            reached = sum(shares[:stage]) + shares[stage] * done / total
            context.report(min(whole, round(PROGRESS * reached)), whole, first, last)

        return report

    screen, search, second = (replace(context, report=reporting(stage)) for stage in range(len(shares)))
    return Stages(screen, search, replace(second, seed=context.seed + 1))


def confirm(  # noqa: PLR0913, PLR0917 (the triggers, and the halves)
    context: Context,
    family: TriggerFamily,
    inverted: Inverted,
    leading: Collection[int],
    optimise: Images,
    held_out: Images,
    *,
    from_source: bool,
) -> tuple[Confirmation, ...]:
    """Look again at the arms that stand out most; nothing is said where that fails: the first look stands by itself.

    Args:
        context: of the second look, see `stages`.
        family: the kind of trigger.
        inverted: all arms.
        leading: positions of arms with a working trigger: those that stand out most.
        optimise: the images that the triggers were optimised on.
        held_out: the others.
        from_source: whether each arm moves one class; of two classes, all others are one as well.
    """
    # In the order of the arms, as progress tells the classes.
    chosen = torch.tensor(sorted(leading), dtype=torch.int64)
    if not len(chosen):
        context.report(1, 1, 0, context.subject.num_classes - 1)
        return ()
    arms = inverted.arms[chosen].to(optimise.labels.device)
    try:
        again = groups.invert_arms(context, family, arms, held_out)
        if not again.finite():
            return ()
        again = groups.replayed(context.subject, family, again, optimise, range(len(arms)))
        first = tuple(p[chosen] for p in inverted.parameters)
        alike = _likeness(context.subject, family, (first, again.parameters), arms, optimise, held_out)
    except (OutOfTimeError, FloatingPointError):
        return ()
    sources = arms.source.int().argmax(dim=1).tolist() if from_source else [None] * len(arms)
    measured = zip(sources, arms.target.tolist(), again.strengths(), again.rates(1), alike, strict=True)
    return tuple(Confirmation(*each) for each in measured)


def _likeness(  # noqa: PLR0913, PLR0917 (the triggers, and the halves)
    subject: Subject,
    family: TriggerFamily,
    found: tuple[Parameters, Parameters],
    arms: Arms,
    optimise: Images,
    held_out: Images,
) -> list[float | None]:
    """Return the lesser likeness of each arm's two triggers, each on the half that it was not optimised on.

    None where either cannot be told.
    """
    both = [
        [_likeness_of(subject, family, parameters, arms, at, half) for at in range(len(arms))]
        for parameters, half in zip(found, (held_out, optimise), strict=True)
    ]
    return [None if one is None or other is None else min(one, other) for one, other in zip(*both, strict=True)]


def _likeness_of(  # noqa: PLR0913, PLR0917 (a trigger, and what to put it on)
    subject: Subject, family: TriggerFamily, parameters: Parameters, arms: Arms, at: int, images: Images
) -> float | None:
    one = tuple(p[at : at + 1].to(images.labels.device) for p in parameters)
    most = _compared(int(arms.source[at].sum()) == 1)
    clean = images.images[arms.source[at][images.labels]][:most]
    real = images.images[images.labels == arms.target[at]][:most]
    return likeness(subject, clean, family.apply(one, clean)[0], real)


def _compared(one_source: bool) -> int:
    return COMPARED_IMAGES // 2 if one_source else COMPARED_IMAGES
