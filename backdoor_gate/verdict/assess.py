"""One detector's evidence, judged by itself: what stands out, and whether it is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import BY_NAME, FEWEST_COMPARED, DetectorSpec, Side
from backdoor_gate.records import DetectorResult, Evidence, Inconclusive, Measured, NotApplicable, Status
from backdoor_gate.trigger_facts import Means
from backdoor_gate.verdict.comparison import expected_of_classes, ordinary
from backdoor_gate.verdict.confirm import at_second_sight, looks_at_classes
from backdoor_gate.verdict.criteria import criteria, index_excess, most_extreme
from backdoor_gate.verdict.pairs import assess_pairs
from backdoor_gate.verdict.scales import PAIR_SCALES, Scale, scale_of
from backdoor_gate.verdict.screened import completed
from backdoor_gate.verdict.statistics import critical_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backdoor_gate.verdict.limits import Excess


def assess(evidence: Evidence, *, required: bool, rate: float, max_unmeasured: float) -> DetectorResult:
    """Judge one detector.

    Args:
        evidence: what it brought, as `carried_over`.
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
        return assess_pairs(filled, evidence)
    return _judge(filled, completed(evidence), spec, rate, max_unmeasured)


def _judge(
    result: DetectorResult, evidence: Measured, spec: DetectorSpec, rate: float, max_unmeasured: float
) -> DetectorResult:
    scale, classes = scale_of(evidence), len(evidence.values)
    allowed = max_unmeasured if scale.max_unmeasured is None else scale.max_unmeasured
    result = _with_index(result, ordinary(evidence), spec, scale, rate)
    result = _with_suspects(result, evidence, spec, rate)
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


def _reasons(evidence: Measured, spec: DetectorSpec, rate: float) -> dict[int, str]:
    """Return why each suspect class is one, the most extreme first; empty where none is."""
    index = index_excess(evidence, rate)
    found = {k: why for k in range(len(evidence.values)) if (why := _why_suspect(evidence, spec, k, index))}
    return {k: found[k] for k in _most_extreme_first(found, evidence.values, spec)}


def _with_suspects(result: DetectorResult, evidence: Measured, spec: DetectorSpec, rate: float) -> DetectorResult:
    """Add the suspects, if any: those that stand at second sight, or else all of them, without blocking.

    A margin or a weight score has no trigger to look at again: by itself it does not block, see `corroborate`.
    """
    reasons = _reasons(evidence, spec, rate)
    if not reasons:
        return result
    looks, left = looks_at_classes(evidence), _reasons(at_second_sight(evidence), spec, rate)
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


def _why_suspect(evidence: Measured, spec: DetectorSpec, class_index: int, index: Excess | None) -> str:
    """Return why a class is suspect, empty where it is not."""
    found = criteria(evidence, class_index, index)
    if found is None or not found.words:
        return ""
    why = " and ".join(f"{found.among.value:.4g} {spec.unit} {words}" for words in found.words)
    why += ", though noise leads there, too" if found.among.of_noise else ""
    sent = replayed(evidence, class_index)
    return f"{sent}, and {why}" if sent else why


def replayed(evidence: Measured, class_index: int) -> str:
    """Return in words what a class's trigger does to held-out images; empty where the detector has no trigger."""
    if evidence.success is None or (rate := evidence.success[class_index]) is None:
        return ""
    where = "held-out images" if evidence.verified else "synthetic probes (not verified)"
    means = evidence.means[class_index] if evidence.means else Means("its trigger", None)
    whose = where if means.source is None else f"{where} of class {means.source}"
    return f"{means.words} sends {rate:.0%} of {whose} there"
