"""Whether what stands out still does at the second look, before it may block.

Two things speak against a trigger. One that another seed, on other images, does not find again was luck. And one that
does at every depth of the network what distinguishes real images of its class is a shortcut which the class itself
offers, unless it is so weak that nothing of the class can be in it. Either turns a block into a weak suspicion. Where
there was no second look, or it could not tell, the first stands by itself: a look that fails excuses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backdoor_gate.plausible import WORKING_SUCCESS
from backdoor_gate.records import Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backdoor_gate.records import Evidence
    from backdoor_gate.trigger_facts import Confirmation

    Way = tuple[int | None, int]
    """Source, None for all other classes, and target."""

STRONGER = 1.5
"""Factor by which the trigger may come out stronger the second time: the first was chosen as the weakest of many, and
chance had its part in that."""

LUCKIER = 1.25
"""Factor by which a trigger counts as stronger that came out weaker the second time: of two looks one is, by chance."""

LESS_SUCCESS = 0.9
"""Share of the success asked for at first that will do the second time."""

NATURAL_LIKENESS = 0.7
"""Likeness from which a trigger is taken for its class's own features. Planted ones had at most 0.64."""

INEXPLICABLE = {
    "neural_cleanse": 0.005,
    "spectral_inversion": 0.15,
    "frequency_inversion": 0.3,
    "ground_inversion": 0.2,
    "warp_inversion": 0.6,
    "generator_inversion": 0.03,
    "pair_patch": 0.0015,
    "pair_spectral": 0.05,
    "pair_warp": 0.3,
}
"""Strength, in the detector's unit, up to which no likeness explains a trigger: so little is of no class."""


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What the second look at one trigger leaves of it.

    Attributes:
        strength: to be judged by the limits of the first, None where it was not found again.
        measured: as it came out, None where it was not found again.
        natural: whether it is explained as its class's own features.
        words: what was seen.
    """

    strength: float | None
    measured: float | None
    natural: bool
    words: str


def second_looks(
    name: str, confirmations: Iterable[Confirmation], strengths: Mapping[Way, float | None], least_success: float
) -> dict[Way, SecondLook]:
    """Return what the second look says of each trigger that it was given to.

    Args:
        name: of the detector.
        confirmations: what it brought.
        strengths: of all triggers at the first look.
        least_success: share of held-out images that a trigger had to move at the first look.
    """
    looks: dict[Way, SecondLook] = {}
    for found in confirmations:
        way = (found.source, found.target)
        if (first := strengths.get(way)) is not None:
            looks[way] = _second_look(found, first, INEXPLICABLE.get(name, math.inf), LESS_SUCCESS * least_success)
    return looks


def _second_look(found: Confirmation, first: float, inexplicable: float, least_success: float) -> SecondLook:
    if found.strength is None:
        return SecondLook(None, None, natural=False, words="not found again from another seed")
    moved = "the other half has no images to replay it on"
    if found.success is not None:
        moved = f"{found.success:.0%} of the other half"
        if found.success < least_success:
            return SecondLook(None, None, natural=False, words=f"from another seed it moves only {moved}")
    natural = found.likeness is not None and found.likeness >= NATURAL_LIKENESS and first > inexplicable
    words = f"again {found.strength:.4g} from another seed, {moved}"
    if natural:
        words += f", but it does what real images of the class do (likeness {found.likeness:.2f})"
    return SecondLook(max(first, found.strength / STRONGER), found.strength, natural, words)


def looks_at_classes(evidence: Measured) -> dict[Way, SecondLook]:
    """Return the second looks at the triggers of a detector that move all other classes."""
    strengths: dict[Way, float | None] = {(None, k): value for k, value in enumerate(evidence.values)}
    return second_looks(evidence.detector, evidence.confirmations, strengths, WORKING_SUCCESS)


def all_carried_over(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Return all evidence of a model as it is judged: what was measured, `carried_over`; the rest as it is."""
    return tuple(carried_over(each) if isinstance(each, Measured) else each for each in evidence)


def carried_over(evidence: Measured) -> Measured:
    """Return the evidence with the second trigger in the place of the first where that is the better one of the two.

    Either has worked on images that it had not seen. Each look scales its trigger to the least that works on its own
    half, and now and then that half flatters it: then the first worked only where it was optimised. And now and then
    a search passes a weak trigger by, and the next one finds it. To carry over again changes nothing.
    """
    if evidence.success is None or evidence.pairs:
        return evidence
    values, success = list(evidence.values), list(evidence.success)
    for found in evidence.confirmations:
        better = _better(found, values[found.target], success[found.target])
        if better is not None:
            values[found.target], success[found.target] = better
    return replace(evidence, values=tuple(values), success=tuple(success))


def _better(found: Confirmation, value: float | None, first: float | None) -> tuple[float, float] | None:
    """Return strength and success of the second trigger where it is the better of the two; None where it is not."""
    if value is None or first is None or found.strength is None or (found.success or 0.0) < WORKING_SUCCESS:
        return None
    strength = found.strength if first < WORKING_SUCCESS else LUCKIER * found.strength
    return (strength, found.success or 0.0) if first < WORKING_SUCCESS or strength < value else None


def at_second_sight(evidence: Measured) -> Measured:
    """Return the evidence of classes as the second look leaves it: with the new strengths, less what is explained."""
    looks = looks_at_classes(evidence)
    if not looks or evidence.success is None:
        return evidence
    values, success = list(evidence.values), list(evidence.success)
    for (_, target), look in looks.items():
        values[target] = look.strength
        success[target] = 0.0 if look.natural else success[target]
    return replace(evidence, values=tuple(values), success=tuple(success))
