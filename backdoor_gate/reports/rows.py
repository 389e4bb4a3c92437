"""One row per detector, as every report for people shows it: the required ones first, in the order they were listed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from backdoor_gate.records import DetectorResult, Status, Suspicion, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import AuditReport, Decision

MEANING = {
    Verdict.PASS: "no evidence of a backdoor under the tests listed",
    Verdict.BLOCK: "evidence of a backdoor",
    Verdict.INCONCLUSIVE: "the evidence does not suffice for a verdict",
    Verdict.REFUSED: "the candidate's bytes are not acceptable",
}
"""What each verdict says, and no more."""

ABSENT = "–"
_SHOWN_CLASSES = 8


class Outcome(Enum):
    """What became of a detector, for people."""

    CLEAR = "clear"
    NOTED = "noted"
    """Something stood out, which alone does not block."""
    BLOCKS = "blocks"
    MISSING = "missing"
    SKIPPED = "skipped"
    """Not measured, and not missed: not required, or with nothing to measure."""


class Way(NamedTuple):
    """Where a trigger leads: from one class to another, or from all others to one. Reads `9→4` or `4`."""

    source: int | None
    target: int

    def __str__(self) -> str:
        """Name it as reports do."""
        return str(self.target) if self.source is None else f"{self.source}→{self.target}"

    @property
    def words(self) -> str:
        """The same where a number by itself would not do."""
        return f"class {self.target}" if self.source is None else str(self)


@dataclass(frozen=True, slots=True)
class Row:
    """One detector. `name` and `reason` are as found, for the sink to sanitise; the other texts are our own.

    Attributes:
        suspects: classes such as `4`, or pairs such as `9→4`.
        success: held-out success of the suspect classes' triggers, in percent.
        seconds: wall time; 0 where it never ran.
    """

    name: str
    required: bool
    outcome: Outcome
    reason: str
    index: str = ABSENT
    threshold: str = ABSENT
    p_value: str = ABSENT
    suspects: str = ABSENT
    success: str = ABSENT
    seconds: float = 0.0

    @property
    def duration(self) -> str:
        """Wall time in seconds, or `–` where it never ran."""
        return f"{self.seconds:.1f}" if self.seconds else ABSENT


def rows(report: AuditReport) -> tuple[Row, ...]:
    """Return the rows; a required detector that the decision does not know is missing, for the decisive reason."""
    found = {result.name: result for result in report.decision.detectors}
    expected = tuple(dict.fromkeys(report.expected_detectors))
    absent = Row("", required=True, outcome=Outcome.MISSING, reason=decisive_reason(report))
    return (
        *(_row(found[name], required=True) if name in found else _named(absent, name) for name in expected),
        *(_row(result, required=result.required) for name, result in found.items() if name not in expected),
    )


def decisive_reason(report: AuditReport) -> str:
    """Return the reason that decided, or what the verdict means where none was given."""
    return next(iter(report.decision.reasons), MEANING[report.decision.verdict])


def headline(report: AuditReport) -> str:
    """Return what the verdict means in one sentence, without a full stop, with suspects and weak suspicion."""
    decision = report.decision
    suspects = f"; suspect classes: {class_list(decision.suspect_classes)}" if decision.suspect_classes else ""
    weak = "; weak suspicion" if decision.suspicion is Suspicion.WEAK else ""
    pairs = f"; suspect pairs: {class_list(found)}" if (found := suspect_pairs(decision)) else ""
    meaning = MEANING[decision.verdict]
    return f"{meaning[0].upper()}{meaning[1:]}{suspects}{pairs}{weak}"


def suspects(result: DetectorResult) -> tuple[Way, ...]:
    """Return what a detector suspects: pairs where it looks from class to class, else classes, by source if of one."""
    if result.pairs:
        return tuple(Way(source, target) for source, target in result.suspect_pairs)
    sources = {target: source for source, target in result.suspect_pairs}
    return tuple(Way(sources.get(target), target) for target in result.suspect_classes)


def suspect_pairs(decision: Decision) -> tuple[Way, ...]:
    """Return the pairs that the blocking detectors suspect, each once."""
    found = (way for result in decision.detectors if result.blocking for way in suspects(result))
    return tuple(dict.fromkeys(way for way in found if way.source is not None))


def reasons(report: AuditReport) -> tuple[str, ...]:
    """Return the reasons that say more than the headline does."""
    return tuple(reason for reason in report.decision.reasons if reason != MEANING[report.decision.verdict])


def points(report: AuditReport) -> tuple[str, ...]:
    """Return the reasons for people: what several detectors lack once, and which were measured all the same."""
    missing = {f"{each.name}: {each.reason}": each for each in report.decision.detectors if not _is_measured(each)}
    lacking: dict[str, list[str]] = {}
    told = [reason for reason in reasons(report) if reason not in missing]
    for result in (missing[reason] for reason in reasons(report) if reason in missing):
        lacking.setdefault(result.reason, []).append(result.name)
    told[:0] = [f"{', '.join(names)}: {reason}" for reason, names in lacking.items()]
    measured = ", ".join(each.name for each in report.decision.detectors if _is_measured(each))
    several = any(len(names) > 1 for names in lacking.values())
    return (*told, f"measured all the same: {measured}") if several and measured else tuple(told)


def _is_measured(result: DetectorResult) -> bool:
    return result.status is Status.MEASURED


def subject(report: AuditReport) -> str:
    """Return how the report names its model: the resolved reference, or the one asked for."""
    return report.candidate.uri if report.candidate else report.requested


def unmeasured(report: AuditReport, shown: Sequence[Row]) -> str:
    """Return that no detector measured anything, all for one reason; empty where rows have more to say.

    The text holds the reason, which is untrusted, only where the verdict's own reasons do not tell it.
    """
    why = {row.reason for row in shown}
    if len(why) != 1 or not all(row.outcome in {Outcome.MISSING, Outcome.SKIPPED} for row in shown):
        return ""
    reason = why.pop()
    told = any(reason in said for said in reasons(report))
    return f"No detector measured anything{', for the reason above' if told else f': {reason}'}"


def _named(row: Row, name: str) -> Row:
    return Row(name, row.required, row.outcome, row.reason)


def _row(result: DetectorResult, *, required: bool) -> Row:
    return Row(
        name=result.name,
        required=required,
        outcome=_outcome(result, required=required),
        reason=result.reason,
        index=number(result.anomaly_index),
        threshold=number(result.threshold),
        p_value=probability(result.p_value),
        suspects=class_list(suspects(result)),
        success=_success(result),
        seconds=result.cost.seconds if math.isfinite(result.cost.seconds) else 0.0,
    )


def _outcome(result: DetectorResult, *, required: bool) -> Outcome:
    if result.blocking:
        return Outcome.BLOCKS
    if result.status is Status.MEASURED:
        return Outcome.NOTED if result.suspect_classes else Outcome.CLEAR
    return Outcome.MISSING if required and not result.excused else Outcome.SKIPPED


def number(value: float | None) -> str:
    """Return a statistic in two decimals; `–` for none, or for one that is not finite."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.2f}"


def probability(value: float | None) -> str:
    """Return a p-value in two significant digits, never rounded to zero."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}" if value >= 1e-12 else "<1e-12"


def class_list(classes: Sequence[int | Way]) -> str:
    """Return class numbers, or pairs, with commas, the first few only."""
    shown = ", ".join(str(index) for index in classes[:_SHOWN_CLASSES])
    more = len(classes) - _SHOWN_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown or ABSENT


def _success(result: DetectorResult) -> str:
    found = (success_of(result, way) for way in suspects(result))
    shares = [share for share in found if share is not None]
    if not shares:
        return ABSENT
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return high if low == high else f"{low} to {high}"


def success_of(result: DetectorResult, way: Way) -> float | None:
    """Return the share of held-out images that a trigger moves; None where it was not measured."""
    if result.pairs:
        found = next((pair.success for pair in result.pairs if (pair.source, pair.target) == way), None)
    else:
        found = result.success[way.target] if result.success and way.target < len(result.success) else None
    return found if found is not None and math.isfinite(found) else None
