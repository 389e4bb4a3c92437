"""The JSON summary, version 1: a type of its own. Its schema is `reports/schema/rescan-v1.json`.

Within version 1 no field is removed, renamed or given another meaning.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from backdoor_gate.reports.json_values import finite, identity, moment, texts

if TYPE_CHECKING:
    from backdoor_gate.fleet import RescanReport, VersionResult
    from backdoor_gate.reports.json_v1 import PolicyV1

SCHEMA_VERSION = "1"


class VersionV1(TypedDict):
    """One version, and what became of it."""

    uri: str
    name: str
    version: str
    aliases: list[str]
    stage: str | None
    counts: bool
    action: str
    due: str | None
    why: str | None
    verdict: str | None
    reasons: list[str]
    suspect_classes: list[int]
    digest: str | None
    scan_id: str | None
    scanned_at: str | None
    expires_at: str | None
    faults: list[str]
    exit_code: int
    seconds: float | None


class RescanV1(TypedDict):
    """The whole document."""

    schema_version: str
    kind: str
    started_at: str
    seconds: float | None
    registry: str
    policy: PolicyV1
    detector_pack: str
    tool_version: str
    dry_run: bool
    stale_after: float | None
    exit_code: int
    versions: list[VersionV1]
    uncovered: list[str]


def render(report: RescanReport) -> str:
    """Return the JSON document of one run."""
    return json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: RescanReport) -> RescanV1:
    """Return the summary as plain values: strings are sanitised, numbers are finite or None, times are in UTC."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "rescan",
        "started_at": moment(report.started_at),
        "seconds": finite(report.seconds),
        "registry": identity(report.registry),
        "policy": {"path": identity(report.policy.path), "digest": report.policy.digest},
        "detector_pack": report.detector_pack,
        "tool_version": report.tool_version,
        "dry_run": report.dry_run,
        "stale_after": finite(report.stale_after),
        "exit_code": report.exit_code,
        "versions": [_version(result) for result in report.results],
        "uncovered": [identity(name) for name in report.uncovered],
    }


def _version(result: VersionResult) -> VersionV1:
    version, reason, found = result.version, result.reason, result.finding
    return {
        "uri": identity(version.uri),
        "name": identity(version.name),
        "version": identity(version.version),
        "aliases": [identity(alias) for alias in version.aliases],
        "stage": version.stage,
        "counts": result.counts,
        "action": result.action.value,
        "due": reason.due.value if reason else None,
        "why": texts([reason.words])[0] if reason else None,
        "verdict": found.verdict.value if found else None,
        "reasons": texts(found.reasons) if found else [],
        "suspect_classes": list(found.suspect_classes) if found else [],
        "digest": found.digest if found else None,
        "scan_id": identity(found.scan_id) if found else None,
        "scanned_at": moment(found.scanned_at) if found else None,
        "expires_at": moment(found.expires_at) if found else None,
        "faults": texts(result.faults),
        "exit_code": result.exit_code,
        "seconds": finite(result.seconds),
    }
