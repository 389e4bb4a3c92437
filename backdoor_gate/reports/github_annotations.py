"""Annotations of a GitHub workflow run: workflow commands, one a line, for a step to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.reports.findings import findings, policy_location
from backdoor_gate.reports.text import workflow_data, workflow_property

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport
    from backdoor_gate.reports.findings import Problem

LIMIT = 10
"""GitHub keeps so many annotations of a step and drops the others."""


def render(report: AuditReport) -> str:
    """Return at most `LIMIT` workflow commands, one for each finding; nothing for a PASS."""
    place = workflow_property(policy_location(report))
    return "".join(f"{_command(report, finding, place)}\n" for finding in findings(report)[:LIMIT])


def _command(report: AuditReport, finding: Problem, place: str) -> str:
    title = workflow_property(f"{report.decision.verdict.value}: {finding.rule}")
    return f"::error title={title},file={place}::{workflow_data(finding.reason)}"
