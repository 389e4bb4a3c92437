"""A margin has no trigger to replay; together with a small trigger to the same class it is evidence all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.records import Status
from backdoor_gate.verdict.confirm import WORKING_SUCCESS, looks_at_classes
from backdoor_gate.verdict.control import is_natural
from backdoor_gate.verdict.scales import SCALES
from backdoor_gate.verdict.statistics import runner_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import DetectorResult

BORNE_OUT = ("max_margin",)
"""Detectors that block when a trigger bears them out. Statistics of the weights are not among them: they inform."""


def corroborate(results: Sequence[DetectorResult]) -> tuple[DetectorResult, ...]:
    """Make a suspicion without a trigger block where a working trigger of another detector points at the same class."""
    return tuple(_borne_out(result, results) if result.name in BORNE_OUT else result for result in results)


def _borne_out(result: DetectorResult, results: Sequence[DetectorResult]) -> DetectorResult:
    for k in result.suspect_classes:
        for other in results:
            if (share := _supporting_share(other, k)) is not None:
                why = f"{result.reason}; borne out by {other.name}, whose trigger to class {k} works at {share:.2f} "
                return replace(result, blocking=True, suspect_classes=(k,), reason=why + "of the next class")
    return result


def _supporting_share(other: DetectorResult, class_index: int) -> float | None:
    """Return the trigger's share of the next class where it is small enough and works on held-out images."""
    limit = SCALES[other.name].supports if other.name in SCALES else None
    if limit is None or other.status is not Status.MEASURED:
        return None
    if other.expected and is_natural(other.per_class[class_index], other.expected[class_index]):
        return None
    looks = looks_at_classes(other.name, other.confirmations, other.per_class, WORKING_SUCCESS)
    look = looks.get((None, class_index))
    if look is not None and (look.strength is None or look.natural):
        return None
    share = share_of_next(other.per_class, other.success, class_index)
    return share if share is not None and share <= limit else None


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
    return value / max(rival, 1e-12)
