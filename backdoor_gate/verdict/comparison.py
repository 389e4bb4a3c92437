"""Which classes a class is compared with, and by which limits.

Plain noise leads to some class of most clean networks, see `scan.noise`, and weak triggers lead there, too. Such a
class has limits of its own, and the others are compared among themselves: or else it would hide what is planted in
them, being the weakest, or stand out itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import FEWEST_COMPARED
from backdoor_gate.verdict.control import LEAST_USUAL, NATURAL_SHARE, expected_strengths
from backdoor_gate.verdict.scales import Scale, scale_of
from backdoor_gate.verdict.statistics import log_ratio

if TYPE_CHECKING:
    from backdoor_gate.records import Measured
    from backdoor_gate.verdict.confirm import Way


@dataclass(frozen=True, slots=True)
class Comparison:
    """One class among those that it is compared with.

    Attributes:
        scale: the limits that hold for it.
        values: (N,) of the class and of those that it is compared with, None where censored.
        searched: likewise, None where a class only stands as one that was searched, see `screened`: the next class is
            one of these.
        at: its place among them.
        few: whether there are too few classes to compare: then only absolute limits count.
        of_noise: whether noise leads to it.
        expected: its strength if nothing were planted, see `verdict.control`; None: unknown.
        unnatural: see there.
    """

    scale: Scale
    values: tuple[float | None, ...]
    searched: tuple[float | None, ...]
    at: int
    few: bool
    of_noise: bool
    expected: float | None = None
    unnatural: float = math.inf

    @property
    def value(self) -> float | None:
        """The class's own."""
        return self.values[self.at]

    @property
    def natural(self) -> bool:
        """Whether the class is about as weak as the clean images make it."""
        return self.unnatural <= 0


def compared(evidence: Measured, class_index: int) -> Comparison:
    """Return a class among all to which noise does not lead, where those are enough; among all classes otherwise."""
    scale, few = scale_of(evidence), len(evidence.values) < FEWEST_COMPARED
    others = _without_noise(evidence, scale)
    of_noise = not few and scale.of_noise is not None and class_index in evidence.noise_classes
    left = sorted({*others, class_index})
    values = tuple(evidence.values[k] for k in left)
    unsearched = frozenset(() if evidence.screening is None else evidence.screening.left_out)
    searched = tuple(None if k in unsearched else evidence.values[k] for k in left)
    usual = _at(expected_of_classes(evidence), class_index)
    own = _of_noise(scale, usual) if of_noise else _of_source(scale, evidence, class_index)
    at = left.index(class_index)
    return Comparison(own, values, searched, at, few, of_noise, usual, unnatural(evidence, class_index))


def unnatural(evidence: Measured, class_index: int) -> float:
    """Return the logarithm of how much weaker a class's trigger is than the clean images make it, above 0 if so.

    Infinite where the control does not tell: then nothing is excused. What the control leads one to expect is taken
    for at least LEAST_USUAL of its own strength: many planted triggers do not excuse each other.
    """
    value, expected = evidence.values[class_index], _at(expected_of_classes(evidence, LEAST_USUAL), class_index)
    return math.inf if value is None or expected is None else log_ratio(NATURAL_SHARE * expected, value)


def _at(expected: tuple[float | None, ...], class_index: int) -> float | None:
    return expected[class_index] if expected else None


def _of_noise(scale: Scale, expected: float | None) -> Scale:
    """Return the limits of a class of noise: where the control tells what is to be expected, that alone counts."""
    if expected is None and scale.of_noise is not None:
        return scale.of_noise
    return Scale(of_control=scale.of_control, comparable=scale.comparable, outliers=False)


def _of_source(scale: Scale, evidence: Measured, class_index: int) -> Scale:
    """Return the limits that hold where one class's images alone are moved, or the usual ones."""
    if not evidence.means or evidence.means[class_index].source is None:
        return scale
    alone = scale.of_one_source or scale
    return (evidence.means[class_index].particular and scale.of_particular) or alone


def expected_of_classes(evidence: Measured, least: float = 0.0) -> tuple[float | None, ...]:
    """Return the (K,) values that the control leads one to expect, None where it does not tell; empty without any.

    Args:
        evidence: with its controls.
        least: as in `expected_strengths`.
    """
    if not evidence.controls:
        return ()
    strengths: dict[Way, float | None] = {(None, k): value for k, value in enumerate(evidence.values)}
    drawn = None if evidence.screening is None else {(None, k) for k in evidence.screening.drawn}
    found = expected_strengths(strengths, evidence.controls, drawn, least)
    return tuple(found.get(way) for way in strengths) if found else ()


def ordinary(evidence: Measured) -> tuple[float | None, ...]:
    """Return the values of the classes that an outlier is looked for in: those to which noise does not lead."""
    return tuple(evidence.values[k] for k in _without_noise(evidence, scale_of(evidence)))


def _without_noise(evidence: Measured, scale: Scale) -> list[int]:
    """Return the classes to which noise does not lead, in order; all where too few are left or no limits tell apart."""
    classes = range(len(evidence.values))
    left = [k for k in classes if k not in evidence.noise_classes]
    return list(classes) if scale.of_noise is None or len(left) < FEWEST_COMPARED else left
