"""What references do to a decision: they say how often it blocks clean models, and may make it stricter.

The shipped limits keep blocking what they block. A model within them blocks, too, where its rank among the references
is rarer than the accepted rate. Among the references those that the limits block rank in front, so both ways to block
are one rule, and its rate is that of the rank: at most the policy's, or else the references are not in force.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.records import Status
from backdoor_gate.reference_facts import Calibration
from backdoor_gate.verdict.conformal import (
    FEWEST_ALIKE,
    Ranked,
    likely_bound,
    references_needed,
    standing,
)
from backdoor_gate.verdict.references import ModelKind
from backdoor_gate.verdict.scores import Score, model_scores

if TYPE_CHECKING:
    from backdoor_gate.records import DetectorResult, Scan
    from backdoor_gate.verdict.judgement import Judgement
    from backdoor_gate.verdict.references import References

Results = tuple["DetectorResult", ...]


def calibrated(results: Results, scan: Scan, judgement: Judgement) -> tuple[Results, Calibration | None]:
    """Return the results as the references leave them, and what the references say; None without references.

    Args:
        results: judged by the shipped limits.
        scan: that they come from.
        judgement: the policy's part.
    """
    references = judgement.references
    if references is None:
        return results, _among_ours(results, scan, judgement.ours)
    found = Calibration(
        references=len(references.counted),
        excluded=len(references.models) - len(references.counted),
        blocked=references.blocked,
        smallest_rate=references.smallest_rate,
        digest=judgement.references_digest,
    )
    kind = ModelKind(classes=scan.num_classes, shape=scan.input.shape)
    if note := judgement.references_unfit or _unlike(references, kind, scan):
        return results, replace(found, note=f"{note}; the shipped limits decide")
    scores = model_scores(scan.evidence)
    ranked = Ranked(kind, any(result.blocking for result in results), values_of(scores))
    stands = standing(ranked, [Ranked(each.kind, each.blocked, each.scores) for each in references.counted])
    found = replace(found, p_value=stands.p_value)
    if found.smallest_rate > judgement.false_block_rate:
        return results, replace(found, note=_too_few(found, judgement.false_block_rate))
    bound = likely_bound(found.references, judgement.false_block_rate)
    found = replace(found, in_force=True, likely_bound=bound)
    if stands.detector is None or stands.p_value > judgement.false_block_rate or ranked.blocked:
        return results, found
    return _blocked_by_rank(results, stands.detector, scores[stands.detector], found), found


def _among_ours(results: Results, scan: Scan, ours: References | None) -> Calibration | None:
    """Return where the model stands among the gate's own networks; None where they are of other kinds."""
    kind = ModelKind(classes=scan.num_classes, shape=scan.input.shape)
    if ours is None or _unlike(ours, kind, scan):
        return None
    ranked = Ranked(kind, any(result.blocking for result in results), values_of(model_scores(scan.evidence)))
    stands = standing(ranked, [Ranked(each.kind, each.blocked, each.scores) for each in ours.counted])
    return Calibration(
        references=len(ours.counted),
        excluded=0,
        blocked=ours.blocked,
        smallest_rate=ours.smallest_rate,
        digest="",
        p_value=stands.p_value,
        ours=True,
    )


def values_of(scores: dict[str, Score]) -> dict[str, float]:
    """Return the bare numbers."""
    return {name: score.value for name, score in scores.items()}


def _unlike(references: References, kind: ModelKind, scan: Scan) -> str | None:
    """Return why the references say nothing of this model; None where they do."""
    if references.data != scan.data.kind:
        return f"the references were measured on {references.data} images, this model on {scan.data.kind} ones"
    alike = sum(reference.kind.like(kind) for reference in references.counted)
    if alike < FEWEST_ALIKE:
        shape = "×".join(map(str, kind.shape))
        what = f"{kind.classes} classes of {shape} images"
        return f"{alike} of {len(references.counted)} references have {what}, fewer than {FEWEST_ALIKE}"
    return None


def _too_few(found: Calibration, rate: float) -> str:
    """Return that the references do not support the policy's rate, and what would."""
    blocked = f", {found.blocked} of which the shipped limits block," if found.blocked else ""
    needed = references_needed(rate, found.blocked)
    return (
        f"{found.references} references{blocked} support a false-block rate of {found.smallest_rate:.3g}, not {rate:g} "
        f"(that needs {needed}); the shipped limits decide"
    )


def _blocked_by_rank(results: Results, leading: str, score: Score, found: Calibration) -> Results:
    """Return the results with the one that stands farthest out blocking, for the class that its score is about."""
    return tuple(_blocking(result, score, found) if result.name == leading else result for result in results)


def _blocking(result: DetectorResult, score: Score, found: Calibration) -> DetectorResult:
    way = f"class {score.target}" if score.source is None else f"{score.source}→{score.target}"
    why = (
        f"{way}: a trigger within the shipped limits, but farther out than those of the references: "
        f"p = {found.p_value:.2g} among {found.references}"
    )
    return replace(
        result,
        status=Status.MEASURED,
        blocking=True,
        reason=why,
        suspect_classes=(score.target,),
        suspect_pairs=() if score.source is None else ((score.source, score.target),),
    )
