"""The JSON report, version 1: a type of its own, never a dump of internals. Its schema is `schema/report-v1.json`.

Within version 1 no field is removed, renamed or given another meaning.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Annotated, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict

from backdoor_gate.reports import figures
from backdoor_gate.reports.json_values import finite, identity, moment, texts
from backdoor_gate.reports.rows import suspect_pairs
from backdoor_gate.reports.text import REASON_LIMIT, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.records import AuditReport, DataFacts, DetectorResult, InputSpec
    from backdoor_gate.reference_facts import Calibration
    from backdoor_gate.trigger_facts import Confirmation, Pair

SCHEMA_VERSION = "1"
MAX_PICTURE_SIDE = 64
"""Pixels; larger artefacts are embedded at a fraction of their size."""

Ends = Annotated[list[int], Len(2, 2)]
"""Source and target of a pair of classes."""

PredictionV1 = TypedDict("PredictionV1", {"class": int, "probability": float})
"""What the model takes an example image for."""

ArtefactV1 = TypedDict(
    "ArtefactV1",
    {
        "name": str,
        "class": int,
        "source_class": NotRequired[int | None],
        "prediction": NotRequired[PredictionV1 | None],
        "shape": list[int],
        "png": str,
    },
)
"""`png` is base64; `shape` (C, H, W) is that of the array, which the picture may show at a fraction."""


class PairsV1(TypedDict):
    """The pairs of a detector that looks from class to class, by column."""

    sources: list[int]
    targets: list[int]
    strengths: list[float | None]
    success: list[float | None]
    leads: list[float | None]


class ConfirmationV1(TypedDict):
    """A second look at one trigger; `source` is null where it moves all other classes."""

    source: int | None
    target: int
    strength: float | None
    success: float | None
    likeness: float | None


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
    expected: NotRequired[list[float | None]]
    unmeasured: list[int]
    left_out: NotRequired[list[int]]
    pairs: NotRequired[PairsV1 | None]
    suspect_pairs: NotRequired[list[Ends]]
    confirmations: NotRequired[list[ConfirmationV1]]
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


class CalibrationV1(TypedDict):
    """What references say of the decision."""

    ours: bool
    digest: str | None
    references: int
    excluded: int
    blocked: int
    smallest_rate: float | None
    in_force: bool
    likely_bound: float | None
    p_value: float | None
    note: str


class ImagesV1(TypedDict):
    """What was measured on, images of the pipeline's or made ones, and the share that the model gets right."""

    kind: str
    count: int
    accuracy: float | None


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
    suspect_pairs: NotRequired[list[Ends]]
    reasons: list[str]
    scan_id: str
    scanned_at: str
    expires_at: str
    candidate: CandidateV1
    architecture_digest: str | None
    data_digest: str | None
    images: NotRequired[ImagesV1 | None]
    policy: PolicyV1
    detector_pack: str
    false_block_rate: float | None
    calibrated: bool
    calibration: NotRequired[CalibrationV1 | None]
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
        "suspect_pairs": [[way.source or 0, way.target] for way in suspect_pairs(decision)],
        "reasons": texts(decision.reasons),
        "scan_id": report.scan_id,
        "scanned_at": moment(report.scanned_at),
        "expires_at": moment(report.expires_at),
        "candidate": _candidate(report),
        "architecture_digest": report.architecture_digest,
        "data_digest": report.data_digest,
        "images": _images(report.scan.data) if report.scan else None,
        "policy": {"path": identity(report.policy.path), "digest": report.policy.digest},
        "detector_pack": report.detector_pack,
        "false_block_rate": finite(report.false_block_rate),
        "calibrated": decision.calibrated,
        "calibration": _calibration(decision.calibration) if decision.calibration else None,
        "coverage": {"tested": texts(report.coverage.tested), "not_tested": texts(report.coverage.not_tested)},
        "detectors": [_detector(result, spec) for result in decision.detectors],
        "waived": [],
        "cost": _cost(report),
        "tool": _tool(report),
    }


def _candidate(report: AuditReport) -> CandidateV1:
    found = report.candidate
    if found is None:
        return {"uri": identity(report.requested), "name": None, "version": None, "digest": None}
    return {
        "uri": identity(found.uri),
        "name": identity(found.name),
        "version": None if found.version is None else identity(found.version),
        "digest": found.digest,
    }


def _calibration(found: Calibration) -> CalibrationV1:
    return {
        "ours": found.ours,
        "digest": found.digest or None,
        "references": found.references,
        "excluded": found.excluded,
        "blocked": found.blocked,
        "smallest_rate": finite(found.smallest_rate),
        "in_force": found.in_force,
        "likely_bound": finite(found.likely_bound),
        "p_value": finite(found.p_value),
        "note": clean(found.note, REASON_LIMIT),
    }


def _detector(result: DetectorResult, spec: InputSpec | None) -> DetectorV1:
    return {
        "name": clean(result.name),
        "required": result.required,
        "status": result.status.value,
        "reason": clean(result.reason, REASON_LIMIT),
        "anomaly_index": finite(result.anomaly_index),
        "threshold": finite(result.threshold),
        "p_value": finite(result.p_value),
        "suspect_classes": list(result.suspect_classes),
        "per_class": [finite(value) for value in result.per_class],
        "expected": [finite(value) for value in result.expected],
        "unmeasured": list(result.unmeasured),
        "left_out": [] if result.screening is None else list(result.screening.left_out),
        "pairs": _pairs(result.pairs) if result.pairs else None,
        "suspect_pairs": [list(pair) for pair in result.suspect_pairs],
        "confirmations": [_confirmation(each) for each in result.confirmations],
        "seconds": finite(result.cost.seconds),
        "images_used": result.cost.images_used,
        "model_passes": result.cost.model_passes,
        "artefacts": [_artefact(artefact, spec) for artefact in result.artefacts if artefact.example == 0],
    }


def _pairs(pairs: Sequence[Pair]) -> PairsV1:
    return {
        "sources": [pair.source for pair in pairs],
        "targets": [pair.target for pair in pairs],
        "strengths": [finite(pair.strength) for pair in pairs],
        "success": [finite(pair.success) for pair in pairs],
        "leads": [finite(pair.lead) for pair in pairs],
    }


def _confirmation(found: Confirmation) -> ConfirmationV1:
    return {
        "source": found.source,
        "target": found.target,
        "strength": finite(found.strength),
        "success": finite(found.success),
        "likeness": finite(found.likeness),
    }


def _artefact(artefact: Artefact, spec: InputSpec | None) -> ArtefactV1:
    picture = figures.picture(artefact, figures.input_range(spec), max_side=MAX_PICTURE_SIDE)
    told = artefact.prediction
    return {
        "name": clean(artefact.name),
        "class": artefact.class_index,
        "source_class": artefact.source_class,
        "prediction": None if told is None else {"class": told.class_index, "probability": told.probability},
        "shape": list(artefact.array.shape),
        "png": base64.b64encode(figures.png(picture)).decode("ascii"),
    }


def _images(data: DataFacts) -> ImagesV1:
    return {"kind": clean(data.kind), "count": data.images, "accuracy": finite(data.accuracy)}


def _cost(report: AuditReport) -> CostV1:
    return {
        "seconds": finite(report.seconds),
        "model_passes": sum(result.cost.model_passes for result in report.decision.detectors) + _illustrating(report),
        "peak_memory": report.scan.peak_memory if report.scan else None,
    }


def _illustrating(report: AuditReport) -> int:
    """Return the images that were put through the model for a figure alone."""
    return report.scan.embedding.model_passes if report.scan and report.scan.embedding else 0


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
