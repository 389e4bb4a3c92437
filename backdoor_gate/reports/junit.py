"""JUnit XML: one test case per required detector, whatever became of the scan, so that no test report is ever empty."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from junit_xml import TestCase, TestSuite

from backdoor_gate.records import Verdict
from backdoor_gate.reports.junit_document import document
from backdoor_gate.reports.rows import Outcome, Row, decisive_reason, rows, subject
from backdoor_gate.reports.text import REASON_LIMIT, clean

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport
    from backdoor_gate.reference_facts import Calibration

_FAILED = (Outcome.BLOCKS, Outcome.MISSING)
_UNDECIDED = (Verdict.PASS, Verdict.INCONCLUSIVE)
_MEASURED = (Outcome.CLEAR, Outcome.NOTED, Outcome.BLOCKS)


def render(report: AuditReport) -> str:
    """Return the JUnit document of one audit, valid against Jenkins' `junit-10.xsd`."""
    shown = _shown(report)
    model = clean(subject(report))
    suite = TestSuite(
        f"backdoor-gate {model}",
        [_case(row, model) for row in shown],
        timestamp=report.scanned_at.astimezone(UTC).isoformat(timespec="seconds"),
        properties=_properties(report),
    )
    return document([suite], failed=sum(row.outcome in _FAILED for row in shown))


def _shown(report: AuditReport) -> tuple[Row, ...]:
    """Return the rows to write: anything but a PASS fails at least one of them, and none at all is an error."""
    shown = rows(report)
    if not any(row.required for row in shown):
        nothing = "no detector is required, so nothing stands behind this verdict"
        shown = (Row("required detectors", required=True, outcome=Outcome.MISSING, reason=nothing), *shown)
    if report.decision.verdict is Verdict.PASS or any(row.outcome in _FAILED for row in shown):
        return shown
    reason = decisive_reason(report)
    return tuple(replace(row, outcome=Outcome.MISSING, reason=reason) if row.required else row for row in shown)


def _case(row: Row, model: str) -> TestCase:
    case = TestCase(clean(row.name), classname=model, elapsed_sec=row.seconds)
    reason = clean(row.reason, REASON_LIMIT) or row.outcome.value
    # GitLab shows the element's content and not its message, so the body repeats the reason.
    body = f"{reason}\n{_measurements(row)}" if row.outcome in _MEASURED else reason
    match row.outcome:
        case Outcome.BLOCKS:
            case.add_failure_info(message=reason, output=body, failure_type="backdoor")
        case Outcome.MISSING:
            case.add_error_info(message=reason, output=body, error_type="unmeasured")
        case Outcome.SKIPPED:
            case.add_skipped_info(message=reason, output=body)
        case _:
            case.stdout = body
    return case


def _measurements(row: Row) -> str:
    return (
        f"anomaly index {row.index}, threshold {row.threshold}, p {row.p_value}\n"
        f"suspect {'pairs' if '→' in row.suspects else 'classes'} {row.suspects}, "
        f"success of their triggers {row.success}"
    )


def _properties(report: AuditReport) -> dict[str, str]:
    candidate, decision = report.candidate, report.decision
    found = {
        "verdict": decision.verdict.value,
        "reason": decisive_reason(report),
        # Of what stays below its limit: beside a BLOCK, or where nothing was measured, "none" would mislead.
        **({"suspicion": decision.suspicion.value} if decision.verdict in _UNDECIDED else {}),
        "suspect_classes": ",".join(str(index) for index in decision.suspect_classes),
        "scan_id": report.scan_id,
        "expires_at": report.expires_at.astimezone(UTC).isoformat(timespec="seconds"),
        "digest": candidate.digest if candidate else "",
        "policy": report.policy.path,
        "policy_digest": report.policy.digest,
        "detector_pack": report.detector_pack,
        "calibrated": "true" if decision.calibrated else "false",
        "references": _references(decision.calibration),
        "tool_version": report.tool_version,
    }
    return {f"backdoor_gate.{name}": clean(value, REASON_LIMIT) for name, value in found.items()}


def _references(found: Calibration | None) -> str:
    """Return how many references of the policy there are, and the model's p-value among them."""
    if found is None or found.ours:
        return ""
    return str(found.references) if found.p_value is None else f"{found.references}, p {found.p_value:.2g}"
