"""One detector's evidence, judged by itself: what stands out, and whether it is missing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import BY_NAME, FEWEST_COMPARED, DetectorSpec, Side
from backdoor_gate.records import DetectorResult, Evidence, Inconclusive, Measured, NotApplicable, Status
from backdoor_gate.trigger_facts import Means
from backdoor_gate.verdict.comparison import compared, expected_of_classes, ordinary
from backdoor_gate.verdict.confirm import at_second_sight, carried_over, looks_at_classes
from backdoor_gate.verdict.limits import why_large, why_small
from backdoor_gate.verdict.pairs import assess_pairs
from backdoor_gate.verdict.scales import PAIR_SCALES, Scale, scale_of
from backdoor_gate.verdict.screened import completed
from backdoor_gate.verdict.statistics import LEAST_SPREAD, critical_value, outlier

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backdoor_gate.verdict.comparison import Comparison
    from backdoor_gate.verdict.statistics import Outlier

WORKING_SUCCESS = 0.85
"""Share of held-out images that a trigger must send to its class before it counts as one."""


def assess(evidence: Evidence, *, required: bool, rate: float, max_unmeasured: float) -> DetectorResult:
    """Judge one detector.

    Args:
        evidence: what it brought.
        required: whether the policy requires it.
        rate: false-block rate of this detector alone, in (0, 0.5].
        max_unmeasured: the policy's share of classes that may be censored.
    """
    spec = BY_NAME[evidence.detector]
    blank = DetectorResult(spec.name, required, Status.MEASURED, "", unit=spec.unit)
    if isinstance(evidence, NotApplicable):
        excused = not evidence.by_candidate
        return replace(blank, status=Status.NOT_APPLICABLE, reason=evidence.reason, excused=excused)
    if isinstance(evidence, Inconclusive):
        return replace(blank, status=Status.INCONCLUSIVE, reason=evidence.reason, cost=evidence.cost)
    evidence = carried_over(evidence, WORKING_SUCCESS)
    left_out = () if evidence.screening is None else evidence.screening.left_out
    filled = replace(
        blank,
        per_class=evidence.values,
        expected=() if evidence.pairs else expected_of_classes(evidence),
        success=evidence.success,
        unmeasured=tuple(k for k, value in enumerate(evidence.values) if value is None and k not in left_out),
        screening=evidence.screening,
        cost=evidence.cost,
        artefacts=evidence.artefacts,
        confirmations=evidence.confirmations,
    )
    if spec.name in PAIR_SCALES:
        return assess_pairs(filled, evidence, max_unmeasured)
    return _judge(filled, completed(evidence), spec, rate, max_unmeasured)


def _judge(
    result: DetectorResult, evidence: Measured, spec: DetectorSpec, rate: float, max_unmeasured: float
) -> DetectorResult:
    scale, classes = scale_of(evidence), len(evidence.values)
    allowed = max_unmeasured if scale.max_unmeasured is None else scale.max_unmeasured
    result = _with_index(result, ordinary(evidence), spec, scale, rate)
    result = _with_suspects(result, evidence, spec, scale, rate)
    if result.blocking:
        return result
    censored = sum(value is None for value in evidence.values)
    if censored > allowed * classes:
        share = censored / classes
        return replace(
            result,
            status=Status.INCONCLUSIVE,
            reason=f"no trigger reached {censored} of {classes} classes ({share:.0%}, at most {allowed:.0%})",
        )
    unseen = sum(rate is None for rate in evidence.success or ())
    if unseen > max_unmeasured * classes:
        return replace(
            result,
            status=Status.INCONCLUSIVE,
            reason=f"too few held-out images to replay the triggers of {unseen} of {classes} classes",
        )
    return result if result.suspect_classes else replace(result, reason="no class stands out")


def _reasons(result: DetectorResult, evidence: Measured, spec: DetectorSpec) -> dict[int, str]:
    """Return why each suspect class is one, the most extreme first; empty where none is."""
    classes = range(len(evidence.values))
    found = {k: why for k in classes if (why := _why_suspect(result, evidence, spec, k)) is not None}
    return {k: found[k] for k in _most_extreme_first(found, evidence.values, spec)}


def _with_suspects(
    result: DetectorResult, evidence: Measured, spec: DetectorSpec, scale: Scale, rate: float
) -> DetectorResult:
    """Add the suspects, if any: those that stand at second sight, or else all of them, without blocking.

    A margin or a weight score has no trigger to look at again: by itself it does not block, see `corroborate`.
    """
    reasons = _reasons(result, evidence, spec)
    if not reasons:
        return result
    looks = looks_at_classes(spec.name, evidence.confirmations, evidence.values, WORKING_SUCCESS)
    second = at_second_sight(evidence, looks)
    indexed = _with_index(replace(result, anomaly_index=None), ordinary(second), spec, scale, rate)
    left = _reasons(indexed, second, spec)
    standing = tuple(k for k in reasons if k in left)
    told = {k: f"{why}; {looks[None, k].words}" if (None, k) in looks else why for k, why in reasons.items()}
    suspects = standing or tuple(reasons)
    return replace(
        result,
        suspect_classes=suspects,
        suspect_pairs=_from_one_source(evidence, suspects),
        blocking=bool(standing) and evidence.success is not None,
        reason="; ".join(f"class {k}: {why}" for k, why in told.items()),
    )


def _from_one_source(evidence: Measured, suspects: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return (source, target) of the suspects that one class's images alone are moved to."""
    means = {k: evidence.means[k].source for k in suspects if evidence.means}
    return tuple((source, k) for k, source in means.items() if source is not None)


def _most_extreme_first(classes: Iterable[int], values: Sequence[float | None], spec: DetectorSpec) -> list[int]:
    """Return the classes, all measured, the one that stands out most in front."""
    sign = 1 if spec.side is Side.SMALL else -1
    return sorted(classes, key=lambda k: (sign * (values[k] or 0.0), k))


def _with_index(
    result: DetectorResult, values: Sequence[float | None], spec: DetectorSpec, scale: Scale, rate: float
) -> DetectorResult:
    """Add anomaly index, threshold and p-value where an outlier rule has power.

    Args:
        result: to add to.
        values: (N,) of the classes that are compared.
        spec: of the detector.
        scale: of the detector.
        rate: its false-block rate.
    """
    found = most_extreme(values, spec, scale)
    threshold = critical_value(len(values), rate) if scale.outliers and len(values) >= FEWEST_COMPARED else None
    if found is None:
        return replace(result, threshold=threshold)
    if not scale.outliers:
        return replace(result, anomaly_index=found.index)
    return replace(result, anomaly_index=found.index, threshold=threshold, p_value=found.p_value)


def most_extreme(values: Sequence[float | None], spec: DetectorSpec, scale: Scale) -> Outlier | None:
    """Return the most extreme class on the scale on which a clean network's are near normal; None as of `outlier`."""
    small = spec.side is Side.SMALL
    if not scale.logarithm:
        return outlier(values, small=small)
    return outlier([logarithm(value) for value in values], small=small, least_spread=LEAST_SPREAD)


def logarithm(value: float | None) -> float | None:
    """Return log(value); a value that is not positive is the smallest there can be."""
    return None if value is None else math.log(max(value, 1e-12))


def _why_suspect(result: DetectorResult, evidence: Measured, spec: DetectorSpec, class_index: int) -> str | None:
    """Return why a class is suspect, None where it is not."""
    among = compared(evidence, class_index)
    if among.value is None or among.natural or not works(evidence, class_index):
        return None
    if spec.side is Side.SMALL:
        extreme = why_small(among.scale, among.values, among.at, spec.unit, among.expected, few=among.few)
    else:
        extreme = why_large(among.scale, among.values, among.at, spec.unit, few=among.few)
    found = " and ".join(why for why in (_why_outlier(result, among, spec), extreme) if why)
    if not found:
        return None
    found += ", though noise leads there, too" if among.of_noise else ""
    sent = replayed(evidence, class_index)
    return f"{sent}, and {found}" if sent else found


def replayed(evidence: Measured, class_index: int) -> str:
    """Return in words what a class's trigger does to held-out images; empty where the detector has no trigger."""
    if evidence.success is None or (rate := evidence.success[class_index]) is None:
        return ""
    where = "held-out images" if evidence.verified else "synthetic probes (not verified)"
    means = evidence.means[class_index] if evidence.means else Means("its trigger", None)
    whose = where if means.source is None else f"{where} of class {means.source}"
    return f"{means.words} sends {rate:.0%} of {whose} there"


def works(evidence: Measured, class_index: int) -> bool:
    """Tell whether the trigger works on held-out images, where the detector has one."""
    if evidence.success is None:
        return True
    rate = evidence.success[class_index]
    return rate is not None and rate >= WORKING_SUCCESS


def _why_outlier(result: DetectorResult, among: Comparison, spec: DetectorSpec) -> str | None:
    """Return in words that the class is the outlier beyond the threshold, None where it is not."""
    if result.anomaly_index is None or result.threshold is None or result.anomaly_index <= result.threshold:
        return None
    value, known = among.value, [v for v in among.values if v is not None]
    extreme = min(known) if spec.side is Side.SMALL else max(known)
    if value != extreme or value > among.scale.comparable or not among.scale.outliers:
        return None
    return f"{value:.4g} {spec.unit} has anomaly index {result.anomaly_index:.1f}, beyond {result.threshold:.1f}"
