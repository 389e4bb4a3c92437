"""Two detectors that come near their limits by the same class are evidence together, where neither is alone.

A trigger of a kind that no search is made for shows in several searches at once, a little in each. A class of a clean
network that happens to be weak in one of them is seldom as weak in another.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.records import Measured, Status
from backdoor_gate.verdict.assess import replayed
from backdoor_gate.verdict.scores import NEAR_LIMIT_FACTOR, agreements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backdoor_gate.records import DetectorResult, Evidence


def agree(
    results: Sequence[DetectorResult], evidence: Sequence[Evidence], index_rate: float
) -> tuple[DetectorResult, ...]:
    """Make the two detectors block that come nearest their limits by the same class, where none blocks by itself.

    Args:
        results: of all detectors, judged by themselves.
        evidence: that they were judged by, as `carried_over`.
        index_rate: false-block rate of each detector's anomaly index alone.
    """
    near = {
        k: both
        for k, both in agreements(evidence, index_rate).items()
        if min(both.values()) >= -math.log(NEAR_LIMIT_FACTOR)
    }
    if not near or any(result.blocking for result in results):
        return tuple(results)
    class_index = max(near, key=lambda k: min(near[k].values()))
    measured = {each.detector: each for each in evidence if isinstance(each, Measured)}
    both = near[class_index]
    return tuple(
        _joined(result, measured[result.name], class_index, both)
        if result.name in both and result.status is Status.MEASURED
        else result
        for result in results
    )


def _joined(result: DetectorResult, evidence: Measured, class_index: int, both: Mapping[str, float]) -> DetectorResult:
    """Return the result of one of the two, blocking."""
    (other,) = (name for name in both if name != result.name)
    own, others = (math.exp(-both[name]) for name in (result.name, other))
    why = (
        f"class {class_index}: {replayed(evidence, class_index)}, and {result.per_class[class_index]:.4g} "
        f"{result.unit} is within {own:.2f} times of a limit, {other} within {others:.2f} times of one of its own: "
        f"where they point at one class, two within {NEAR_LIMIT_FACTOR:g} times count"
    )
    return replace(result, blocking=True, suspect_classes=(class_index,), suspect_pairs=(), reason=why)
