"""What went wrong in an audit, once each, for sinks that list problems instead of tests; and where they point to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.records import Verdict
from backdoor_gate.reports.rows import Outcome, decisive_reason, rows

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport
    from backdoor_gate.reports.rows import Row

CANDIDATE = "candidate"
"""Rule of a finding about the bytes of the candidate."""
SCAN = "scan"
"""Rule of a finding about the scan as a whole."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `rule` and `reason` are as found, for the sink to sanitise.

    Attributes:
        rule: a detector's name, `CANDIDATE` or `SCAN`.
        blocks: whether this is evidence of a backdoor or a refusal; else a measurement is missing.
        row: the detector's numbers; None where no detector is meant.
    """

    rule: str
    blocks: bool
    reason: str
    row: Row | None = None


def findings(report: AuditReport) -> tuple[Problem, ...]:
    """Return a finding for each detector that blocks or is missing; none for a PASS, at least one for all else."""
    found = tuple(
        Problem(row.name, row.outcome is Outcome.BLOCKS, row.reason, row)
        for row in rows(report)
        if row.outcome in {Outcome.BLOCKS, Outcome.MISSING}
    )
    verdict = report.decision.verdict
    if verdict is Verdict.PASS or (found and report.decision.detectors):
        return found
    refused = verdict is Verdict.REFUSED
    return (Problem(CANDIDATE if refused else SCAN, refused, decisive_reason(report)),)


def policy_location(report: AuditReport) -> str:
    """Return the policy file relative to the working folder, with slashes; only its name where it lies elsewhere."""
    path = Path(report.policy.path)
    relative = Path(os.path.relpath(path)) if "\x00" not in report.policy.path else path
    return (path.name if ".." in relative.parts else relative.as_posix()) or "policy.yaml"
