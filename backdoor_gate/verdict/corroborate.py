"""A margin has no trigger to replay; together with a small trigger to the same class it is evidence all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.plausible import WORKING_SUCCESS
from backdoor_gate.records import Measured, Status
from backdoor_gate.verdict.comparison import unnatural
from backdoor_gate.verdict.confirm import at_second_sight
from backdoor_gate.verdict.limits import Excess
from backdoor_gate.verdict.scales import SUPPORTING, SUPPORTS, scale_of
from backdoor_gate.verdict.statistics import TINY, log_ratio, runner_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import DetectorResult, Evidence

BORNE_OUT = ("max_margin",)
"""Detectors that block when a trigger bears them out. Statistics of the weights are not among them: they inform."""


def corroborate(results: Sequence[DetectorResult], evidence: Sequence[Evidence]) -> tuple[DetectorResult, ...]:
    """Make a suspicion without a trigger block where a working trigger of another detector points at the same class.

    Args:
        results: of all detectors, judged by themselves.
        evidence: that they were judged by, as `carried_over`.
    """
    names = {result.name for result in results if result.status is Status.MEASURED}
    measured = [each for each in evidence if isinstance(each, Measured) and each.detector in names]
    return tuple(_borne_out(result, measured) if result.name in BORNE_OUT else result for result in results)


def _borne_out(result: DetectorResult, measured: Sequence[Measured]) -> DetectorResult:
    for k in result.suspect_classes:
        for other in measured:
            found = support(other, k)
            if found is not None and found.counts:
                why = f"{result.reason}; borne out by {other.detector}, whose trigger to class {k} {found.words}"
                return replace(result, blocking=True, suspect_classes=(k,), reason=why)
    return result


def support(other: Measured, class_index: int) -> Excess | None:
    """Return by how much another detector's trigger is weaker than one that bears out a large margin.

    As with any trigger, what stands at the second look is judged, and what the first look measured is told.

    Args:
        other: what the detector brought, as `carried_over`.
        class_index: of the margin.

    Returns:
        None where it has no trigger to the class that works at both looks, or one as weak as the images make it, or
        one too strong to count.
    """
    if other.detector not in SUPPORTING or _too_strong(other, class_index):
        return None
    second = at_second_sight(other)
    first_share, share = (share_of_next(each.values, each.success, class_index) for each in (other, second))
    if first_share is None or share is None or unnatural(second, class_index) <= 0:
        return None
    return Excess(log_ratio(SUPPORTS, share), f"works at {first_share:.2f} of the next class")


def _too_strong(other: Measured, class_index: int) -> bool:
    value = other.values[class_index]
    return value is not None and value > scale_of(other).comparable


def share_of_next(
    values: Sequence[float | None], success: Sequence[float | None] | None, class_index: int
) -> float | None:
    """Return a working trigger's share of the next class's strength; None where it does not work, or there is no next.

    Args:
        values: (K,) strengths, None where censored.
        success: (K,) success on held-out images; None where there is no trigger to replay.
        class_index: the class in question.
    """
    value, rate = values[class_index], None if success is None else success[class_index]
    rival = runner_up(values, class_index)
    if value is None or rival is None or rate is None or rate < WORKING_SUCCESS:
        return None
    return value / max(rival, TINY)
