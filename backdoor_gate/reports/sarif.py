"""SARIF 2.1.0, as code scanning services read it: a rule per detector, a result per finding, at the policy file."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import Verdict
from backdoor_gate.reports.findings import CANDIDATE, SCAN, findings, policy_location
from backdoor_gate.reports.rows import subject
from backdoor_gate.reports.text import REASON_LIMIT, clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backdoor_gate.catalogue import DetectorSpec
    from backdoor_gate.records import AuditReport
    from backdoor_gate.reports.findings import Problem
    from backdoor_gate.reports.rows import Row

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "backdoorGate/v1"
"""Name of the fingerprint: the same for the same finding in every version of a model."""

_SEVERITY = "9.0"
"""Of 10, which code scanning calls critical."""
_GENERAL = {
    CANDIDATE: "The candidate's bytes are acceptable",
    SCAN: "The scan answers all that the policy requires",
}


def render(report: AuditReport) -> str:
    """Return the SARIF document of one audit. A PASS has its rules and no result."""
    return json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: AuditReport) -> dict[str, Any]:
    """Return the SARIF log as plain values."""
    found = findings(report)
    rules = _rules(finding.rule for finding in found)
    positions = {rule["id"]: position for position, rule in enumerate(rules)}
    location = _location(report)
    results = [_result(report, finding, positions, location) for finding in found]
    driver = {"name": "backdoor-gate", "version": clean(report.tool_version), "rules": rules}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"backdoor-gate/{quote(_model(report), safe='')}/{clean(report.scan_id)}"},
        "invocations": [_invocation(report)],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": _properties(report),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rules(named: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rules of the whole pack, the general ones, and one for each other name that was found."""
    rules = {spec.name: _detector_rule(spec) for spec in DETECTORS}
    rules |= {name: _rule(name, title, title) for name, title in _GENERAL.items()}
    for name in map(clean, named):
        rules.setdefault(name, _rule(name, name, name))
    return list(rules.values())


def _detector_rule(spec: DetectorSpec) -> dict[str, Any]:
    help_text = f"Looks for {spec.claim}. Cannot see {spec.blind_to}. Measures {spec.unit}. Source: {spec.source}."
    readable = "".join(part.capitalize() for part in spec.name.split("_"))
    return _rule(spec.name, f"No evidence by {spec.title.lower()}", help_text) | {"name": readable}


def _rule(name: str, title: str, help_text: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": title},
        "fullDescription": {"text": help_text},
        "help": {"text": help_text},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "machine-learning", "backdoor"], "security-severity": _SEVERITY},
    }


def _result(
    report: AuditReport, finding: Problem, positions: dict[str, int], location: dict[str, Any]
) -> dict[str, Any]:
    rule = clean(finding.rule)
    reason = clean(finding.reason, REASON_LIMIT) or report.decision.verdict.value
    numbers = _numbers(finding.row) if finding.row and finding.blocks else ""
    return {
        "ruleId": rule,
        "ruleIndex": positions[rule],
        "kind": "fail",
        "level": "error" if finding.blocks else "warning",
        "message": {"text": f"{report.decision.verdict.value}, {clean(subject(report))}: {reason}{numbers}"},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: _fingerprint(report, finding)},
    }


def _numbers(row: Row) -> str:
    return f" (anomaly index {row.index}, limit {row.threshold}, p {row.p_value})"


def _fingerprint(report: AuditReport, finding: Problem) -> str:
    suspects = finding.row.suspects if finding.row else ""
    parts = (_model(report), clean(finding.rule), "blocks" if finding.blocks else "missing", suspects)
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()


def _model(report: AuditReport) -> str:
    return clean(report.candidate.name if report.candidate else report.requested)


def _location(report: AuditReport) -> dict[str, Any]:
    uri = quote(clean(policy_location(report), None))
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}


def _invocation(report: AuditReport) -> dict[str, Any]:
    return {
        "executionSuccessful": report.decision.verdict in {Verdict.PASS, Verdict.BLOCK},
        "exitCode": report.decision.verdict.exit_code,
        "startTimeUtc": report.scanned_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _properties(report: AuditReport) -> dict[str, Any]:
    return {
        "verdict": report.decision.verdict.value,
        "model": clean(subject(report)),
        "digest": report.candidate.digest if report.candidate else None,
        "policyDigest": report.policy.digest,
        "scanId": clean(report.scan_id),
    }
