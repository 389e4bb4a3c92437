"""Source-by-target inversion: the weakest trigger from each class to each other one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.records import Cost, Evidence, Inconclusive, Measured
from backdoor_gate.scan.data.classes import at_most
from backdoor_gate.scan.data.probes import taken_rightly
from backdoor_gate.scan.detectors import confirmation, pictures
from backdoor_gate.scan.detectors.controls import strengths_of_control
from backdoor_gate.scan.detectors.groups import Inverted, invert_arms, planned_passes, replayed
from backdoor_gate.scan.triggers import Images, pairs
from backdoor_gate.scan.triggers.arms import MOST_BLOCKS
from backdoor_gate.scan.triggers.families import Patch, Spectral, Warp
from backdoor_gate.trigger_facts import Pair, Screening

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily

FEWEST_OF_SOURCE = 3
"""Images of a class that the network gets right, in either half, below which no arm starts from it."""

LEAST_SOURCES = 0.5
"""Share of the classes that arms must start from for the evidence to count."""

SHOWN = 4
"""Pairs whose triggers are kept as pictures."""


class PairInversion:
    """Measures the weakest trigger of one family for pairs of a source and a target class.

    Only images that the network gets right are used: an arm from class s must move images that it takes for s. With
    more than ten classes each arm stands for a block of targets, see `triggers.arms.pairs`.

    Source of the idea: K-Arm, Shen et al., ICML 2021, and UMD, Xiang et al., ICML 2023, invert triggers by pair; here
    all pairs are one batch.
    """

    name: ClassVar[str]
    family: ClassVar[type[TriggerFamily]]
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        classes, probes = context.subject.num_classes, context.probes
        if (arms := _most_arms(context)) == 0:
            return 0
        per_class = len(probes.optimise) // classes, len(probes.held_out) // classes
        second = confirmation.planned_passes(context, arms, *per_class)
        return planned_passes(context, arms, *per_class) + second + len(probes) + pictures.planned_passes(SHOWN)

    def planned_leading(self, context: Context) -> int:
        """Return the steps' images, those of the second look among them."""
        arms = _most_arms(context)
        return confirmation.planned_leading(context, arms) if arms else 0

    def measure(self, context: Context) -> Evidence:
        """Invert the arms of every class that has images enough."""
        subject = context.subject
        optimise, logits = taken_rightly(subject, context.probes.optimise)
        held_out, _ = taken_rightly(subject, context.probes.held_out)
        sources = _sources(context, optimise, held_out)
        if len(sources) < LEAST_SOURCES * (most := _most_sources(context)):
            reason = f"only {len(sources)} of {most} classes have {FEWEST_OF_SOURCE} images in either half"
            return Inconclusive(
                self.name, f"{reason} that the network gets right", Cost(images_used=len(context.probes))
            )
        family = self.family(subject.spec)
        arms = pairs(sources, subject.num_classes).to(subject.device)
        stages = confirmation.stages(context, len(arms))
        inverted = invert_arms(stages.search, family, arms, optimise)
        if not inverted.finite():
            return Inconclusive(
                self.name, "the optimisation did not stay finite", Cost(images_used=len(context.probes))
            )
        leads = _leads(logits, optimise.labels)
        found = _pairs(inverted, leads)
        order = _remarkable(found)
        leading = _of_each_source(order, found)[: confirmation.looked_at(len(arms))]
        leading = confirmation.weak_enough(context, self.name, inverted, leading)
        inverted = replayed(subject, family, inverted, held_out, {*leading, *order[:SHOWN]})
        found = _pairs(inverted, leads)
        weakest = [_weakest(found, target) for target in range(subject.num_classes)]
        shown = pictures.pictures(context, family, inverted, order[:SHOWN], held_out, from_source=True)
        chosen = sorted({*leading, *_ordinary(order, len(sources))}) if leading else ()
        usual = strengths_of_control(context, family, inverted, chosen, optimise, from_source=True)
        again = confirmation.confirm(stages.second, family, inverted, leading, optimise, held_out, from_source=True)
        return Measured(
            detector=self.name,
            values=tuple(None if pair is None else pair.strength for pair in weakest),
            success=tuple(None if pair is None else pair.success for pair in weakest),
            verified=context.probes.clean,
            cost=Cost(images_used=len(context.probes)),
            artefacts=shown,
            pairs=found,
            confirmations=again,
            controls=usual,
            screening=_left_out(context, sources),
        )


class PairPatch(PairInversion):
    """Smallest mask and pattern of each pair."""

    name: ClassVar[str] = "pair_patch"
    family: ClassVar[type[TriggerFamily]] = Patch


class PairSpectral(PairInversion):
    """Faintest additive low-frequency signal of each pair."""

    name: ClassVar[str] = "pair_spectral"
    family: ClassVar[type[TriggerFamily]] = Spectral


class PairWarp(PairInversion):
    """Smallest smooth displacement of each pair."""

    name: ClassVar[str] = "pair_warp"
    family: ClassVar[type[TriggerFamily]] = Warp


def _most_arms(context: Context) -> int:
    """Return how many arms there are where every class has images; of two classes there are no pairs to tell apart."""
    classes = context.subject.num_classes
    return 0 if classes == 2 else _most_sources(context) * min(classes - 1, MOST_BLOCKS)


def _most_sources(context: Context) -> int:
    return min(context.subject.num_classes, int(context.settings["sources"]))


def _sources(context: Context, optimise: Images, held_out: Images) -> Tensor:
    """Return the classes with images enough in both halves, ascending, (S,) int64; of many, so many drawn at random."""
    classes = context.subject.num_classes
    enough = [half.labels.bincount(minlength=classes) >= FEWEST_OF_SOURCE for half in (optimise, held_out)]
    return at_most(_most_sources(context), (enough[0] & enough[1]).nonzero()[:, 0], context.seed)


def _left_out(context: Context, sources: Tensor) -> Screening | None:
    """Return which classes nothing was searched from, where they are too many for all of them."""
    classes = context.subject.num_classes
    if _most_sources(context) == classes:
        return None
    return Screening(tuple(sorted(set(range(classes)) - set(sources.tolist()))), drawn=())


def _leads(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how far each class's images are from each other class, (K, K): the mean lead of their logits."""
    classes = logits.shape[1]
    total = logits.new_zeros(classes, classes).index_add_(0, labels, logits.gather(1, labels[:, None]) - logits)
    return (total / labels.bincount(minlength=classes)[:, None].clamp_min(1)).cpu()


def _pairs(inverted: Inverted, leads: Tensor) -> tuple[Pair, ...]:
    sources = inverted.arms.source.int().argmax(dim=1).tolist()
    targets = inverted.arms.target.tolist()
    measured = zip(sources, targets, inverted.strengths(), inverted.rates(FEWEST_OF_SOURCE), strict=True)
    return tuple(Pair(s, t, strength, rate, float(leads[s, t])) for s, t, strength, rate in measured)


def _weakest(found: tuple[Pair, ...], target: int) -> Pair | None:
    working = [pair for pair in found if pair.target == target and pair.strength is not None]
    return min(working, key=lambda pair: pair.strength or 0.0, default=None)


def _remarkable(found: tuple[Pair, ...]) -> list[int]:
    """Return the positions of the pairs with a working trigger, the weakest for how far apart the classes are first."""
    working = [at for at, pair in enumerate(found) if pair.strength is not None]
    return sorted(working, key=lambda at: (found[at].strength or 0.0) / max(found[at].lead, 1e-3) ** 0.5)


def _of_each_source(leading: list[int], found: tuple[Pair, ...]) -> list[int]:
    """Return the first of each source, in that order: a map has one pair of each."""
    first: dict[int, int] = {}
    for at in leading:
        first.setdefault(found[at].source, at)
    return list(first.values())


def _ordinary(leading: list[int], count: int) -> list[int]:
    """Return so many from the middle of the pairs that `_remarkable` has ordered."""
    first = max(0, (len(leading) - count) // 2)
    return leading[first : first + count]
