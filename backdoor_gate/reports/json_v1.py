"""The JSON report, version 1: a type of its own, never a dump of internals. Its schema is `schema/report-v1.json`.

Within version 1 no field is removed, renamed or given another meaning.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from backdoor_gate.reports import figures
from backdoor_gate.reports.text import REASON_LIMIT, clean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from backdoor_gate.records import Artefact, AuditReport, DetectorResult, InputSpec

SCHEMA_VERSION = "1"
MAX_PICTURE_SIDE = 64
"""Pixels; larger artefacts are embedded at a fraction of their size."""
_IDENTITY_LIMIT = 4096
"""Machines compare names and URIs, so these are cut only where they are absurd."""

ArtefactV1 = TypedDict("ArtefactV1", {"name": str, "class": int, "shape": list[int], "png": str})
"""`png` is base64; `shape` (C, H, W) is that of the array, which the picture may show at a fraction."""


class DetectorV1(TypedDict):
    """One detector's evidence, judged."""

    name: str
    required: bool
    status: str
    reason: str
    anomaly_index: float | None
    threshold: float | None
    p_value: float | None
    suspect_classes: list[int]
    per_class: list[float | None]
    unmeasured: list[int]
    seconds: float | None
    images_used: int
    model_passes: int
    artefacts: list[ArtefactV1]


class CandidateV1(TypedDict):
    """What was judged; all but the reference is null where the bytes could not be had."""

    uri: str
    name: str | None
    version: str | None
    digest: str | None


class PolicyV1(TypedDict):
    """What it was judged by."""

    path: str
    digest: str


class CoverageV1(TypedDict):
    """What was tested, and what the verdict does not speak of."""

    tested: list[str]
    not_tested: list[str]


class CostV1(TypedDict):
    """What the audit took: wall seconds, images through the model, bytes of the worker at its peak."""

    seconds: float | None
    model_passes: int
    peak_memory: int | None


class ToolV1(TypedDict):
    """What measured, and where; all but the version is null or empty where the worker brought no result."""

    version: str
    torch: str | None
    device: str | None
    isolation: str | None
    isolation_notes: list[str]
    seed: int | None


class ReportV1(TypedDict):
    """The whole document."""

    schema_version: str
    verdict: str
    suspicion: str
    suspect_classes: list[int]
    reasons: list[str]
    scan_id: str
    scanned_at: str
    expires_at: str
    candidate: CandidateV1
    architecture_digest: str | None
    data_digest: str | None
    policy: PolicyV1
    detector_pack: str
    false_block_rate: float | None
    calibrated: bool
    coverage: CoverageV1
    detectors: list[DetectorV1]
    waived: list[dict[str, object]]
    cost: CostV1
    tool: ToolV1


def render(report: AuditReport) -> str:
    """Return the JSON document of one audit."""
    return json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: AuditReport) -> ReportV1:
    """Return the report as plain values: strings are sanitised, numbers are finite or None, times are in UTC."""
    decision = report.decision
    spec = report.scan.input if report.scan else None
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": decision.verdict.value,
        "suspicion": decision.suspicion.value,
        "suspect_classes": list(decision.suspect_classes),
        "reasons": _texts(decision.reasons),
        "scan_id": report.scan_id,
        "scanned_at": _time(report.scanned_at),
        "expires_at": _time(report.expires_at),
        "candidate": _candidate(report),
        "architecture_digest": report.architecture_digest,
        "data_digest": report.data_digest,
        "policy": {"path": _identity(report.policy.path), "digest": report.policy.digest},
        "detector_pack": report.detector_pack,
        "false_block_rate": _finite(report.false_block_rate),
        "calibrated": decision.calibrated,
        "coverage": {"tested": _texts(report.coverage.tested), "not_tested": _texts(report.coverage.not_tested)},
        "detectors": [_detector(result, spec) for result in decision.detectors],
        "waived": [],
        "cost": _cost(report),
        "tool": _tool(report),
    }


def _candidate(report: AuditReport) -> CandidateV1:
    found = report.candidate
    if found is None:
        return {"uri": _identity(report.requested), "name": None, "version": None, "digest": None}
    return {
        "uri": _identity(found.uri),
        "name": _identity(found.name),
        "version": None if found.version is None else _identity(found.version),
        "digest": found.digest,
    }


def _detector(result: DetectorResult, spec: InputSpec | None) -> DetectorV1:
    return {
        "name": clean(result.name),
        "required": result.required,
        "status": result.status.value,
        "reason": clean(result.reason, REASON_LIMIT),
        "anomaly_index": _finite(result.anomaly_index),
        "threshold": _finite(result.threshold),
        "p_value": _finite(result.p_value),
        "suspect_classes": list(result.suspect_classes),
        "per_class": [_finite(value) for value in result.per_class],
        "unmeasured": list(result.unmeasured),
        "seconds": _finite(result.cost.seconds),
        "images_used": result.cost.images_used,
        "model_passes": result.cost.model_passes,
        "artefacts": [_artefact(artefact, spec) for artefact in result.artefacts],
    }


def _artefact(artefact: Artefact, spec: InputSpec | None) -> ArtefactV1:
    picture = figures.picture(artefact, figures.input_range(spec), max_side=MAX_PICTURE_SIDE)
    return {
        "name": clean(artefact.name),
        "class": artefact.class_index,
        "shape": list(artefact.array.shape),
        "png": base64.b64encode(figures.png(picture)).decode("ascii"),
    }


def _cost(report: AuditReport) -> CostV1:
    return {
        "seconds": _finite(report.seconds),
        "model_passes": sum(result.cost.model_passes for result in report.decision.detectors),
        "peak_memory": report.scan.peak_memory if report.scan else None,
    }


def _tool(report: AuditReport) -> ToolV1:
    ran = report.scan.runtime if report.scan else None
    return {
        "version": report.tool_version,
        "torch": clean(ran.torch) if ran else None,
        "device": clean(ran.device) if ran else None,
        "isolation": clean(ran.isolation) if ran else None,
        "isolation_notes": [clean(note) for note in ran.isolation_notes] if ran else [],
        "seed": ran.seed if ran else None,
    }


def _identity(text: str) -> str:
    return clean(text, _IDENTITY_LIMIT)


def _texts(texts: Iterable[str]) -> list[str]:
    return [clean(text, REASON_LIMIT) for text in texts]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
