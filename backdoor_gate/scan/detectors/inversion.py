"""Trigger inversion with any family, from all classes to one: what every detector of that kind shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from backdoor_gate.records import Cost, Evidence, Inconclusive, Measured
from backdoor_gate.scan.detectors import confirmation, pictures, screening
from backdoor_gate.scan.detectors.controls import strengths_of_control
from backdoor_gate.scan.detectors.groups import invert_arms, planned_leading, planned_passes, replayed
from backdoor_gate.scan.triggers import all_to_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.scan.detectors.groups import Inverted
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily
    from backdoor_gate.trigger_facts import Control

FEWEST_HELD_OUT = 5
"""Held-out images below which a success rate says nothing."""

HANDICAP = 3.0
"""Factor on the strength of triggers to classes of noise when they are ranked: their limits are that much stricter."""

SHOWN = 2
"""Classes whose triggers are kept as pictures: the weakest working one and the runner-up."""


class InversionDetector:
    """Measures, for every class, the weakest trigger of one family that sends the other classes' images to it."""

    name: ClassVar[str]
    family: ClassVar[type[TriggerFamily]]
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network; few networks have a trigger that is worth a second look."""
        count, halves = screening.searched(context), (len(context.probes.optimise), len(context.probes.held_out))
        shown = pictures.planned_passes(SHOWN)
        return screening.planned(context) + planned_passes(context, count, *halves) + shown

    def planned_leading(self, context: Context) -> int:
        """Return the steps' images, those of the short search among them."""
        return screening.planned(context) + screening.searched(context) * planned_leading(context)

    def measure(self, context: Context) -> Evidence:
        """Invert one arm per class; of very many classes, of those that are left after the screening."""
        classes = context.subject.num_classes
        family = self.family(context.subject.spec)
        optimise, held_out = context.probes.optimise, context.probes.held_out
        arms = all_to_one(classes).to(context.subject.device)
        stages = confirmation.stages(context, screening.searched(context), screening.planned(context))
        screened = screening.screen(stages.screening, family, arms, optimise)
        if screened is not None:
            arms = arms[screening.left(screened, classes)]
        inverted = invert_arms(stages.search, family, arms, optimise)
        if not inverted.finite():
            return Inconclusive(
                self.name, "the optimisation did not stay finite", Cost(images_used=len(context.probes))
            )
        weakest = _weakest_first(inverted, context.noise_classes)
        near = confirmation.weak_enough(context, self.name, inverted, weakest, confirmation.NEAR)
        usual = self._usual(context, family, inverted) if near else ()
        most = confirmation.looked_at(len(arms))
        leading = {*weakest[:most], *_farthest_below(inverted, usual)[:most]}.intersection(near)
        inverted = replayed(context.subject, family, inverted, held_out, {*leading, *weakest[:SHOWN]})
        shown = pictures.pictures(context, family, inverted, weakest[:SHOWN], held_out, from_source=False)
        again = confirmation.confirm(stages.second, family, inverted, leading, optimise, held_out, from_source=False)
        return Measured(
            detector=self.name,
            values=_by_class(inverted, inverted.strengths(), classes),
            success=_by_class(inverted, inverted.rates(FEWEST_HELD_OUT), classes),
            verified=context.probes.clean,
            cost=Cost(images_used=len(context.probes)),
            artefacts=shown,
            confirmations=again,
            controls=usual,
            screening=screened,
        )

    def _usual(self, context: Context, family: TriggerFamily, inverted: Inverted) -> tuple[Control, ...]:
        if not self.controlled:
            return ()
        every = range(len(inverted.arms))
        return strengths_of_control(context, family, inverted, every, context.probes.optimise, from_source=False)


def _weakest_first(inverted: Inverted, noise_classes: Sequence[int]) -> list[int]:
    """Return the arms with a working trigger, those to classes of noise as if they were so much stronger."""
    ranking = torch.where(inverted.works, inverted.strength, torch.inf)
    ranking[torch.isin(inverted.arms.target, torch.tensor(noise_classes))] *= HANDICAP
    return [int(k) for k in ranking.argsort() if ranking[k].isfinite()]


def _farthest_below(inverted: Inverted, usual: Sequence[Control]) -> list[int]:
    """Return the arms with a working trigger, those that are the smallest share of the control's first."""
    of_control = {found.target: found.strength for found in usual if found.strength is not None}
    own = zip(inverted.arms.target.tolist(), inverted.strengths(), strict=True)
    shares = {
        at: strength / max(of_control[target], 1e-12)
        for at, (target, strength) in enumerate(own)
        if strength is not None and target in of_control
    }
    return sorted(shares, key=shares.__getitem__)


def _by_class(inverted: Inverted, found: Sequence[float | None], classes: int) -> tuple[float | None, ...]:
    """Return what was found of each arm by its target, (K,): None of the classes that were left out."""
    of_target = dict(zip(inverted.arms.target.tolist(), found, strict=True))
    return tuple(of_target.get(k) for k in range(classes))
