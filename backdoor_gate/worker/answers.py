"""The child's answers to other tasks than a scan: records to frames on its side, frames to records on the parent's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from backdoor_gate.examination import Diagnosis, Examination, Fault, Inspection, Machine, Preparation, Task, Trial
from backdoor_gate.worker import messages, schema, wire

if TYPE_CHECKING:
    from backdoor_gate.worker.schema import (
        DiagnosisDocument,
        ExaminationDocument,
        FaultDocument,
        PreparationDocument,
        ScanDocument,
        TrialDocument,
    )


def send_examination(channel: int, nonce: str, examination: Examination) -> None:
    """Write the facts, as the result, to the file descriptor `channel`."""
    result = {"nonce": nonce, "scan": None, "failure": None, "examination": _plain(examination)}
    wire.write_frame(channel, wire.RESULT, messages.dump(schema.ResultDocument.model_validate(result)))


def task_of(answer: ScanDocument | ExaminationDocument) -> Task:
    """Return the task that an answer belongs to."""
    return Task.SCAN if isinstance(answer, schema.ScanDocument) else Task(answer.kind)


def examination_from(document: ExaminationDocument) -> Examination:
    """Return the record of a document that has passed `checks.check_examination`, its texts made safe to show."""
    if isinstance(document, schema.MachineDocument):
        return Machine(wire.plain(document.torch), wire.plain(document.device))
    if isinstance(document, schema.InspectionDocument):
        shape = None if document.shape is None else (document.shape[0], document.shape[1], document.shape[2])
        return Inspection(document.format, document.graph, document.fixed_batch, shape, document.num_classes)
    return _diagnosis(document)


def _plain(examination: Examination) -> dict[str, object]:
    """Return the record as JSON values: lists for tuples."""
    kinds = {Machine: Task.MACHINE, Inspection: Task.INSPECTION, Diagnosis: Task.DIAGNOSIS}
    fields = {key: _lists(value) for key, value in asdict(examination).items()}
    return {"kind": kinds[type(examination)].value, **fields}


def _lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_lists(inner) for inner in value]
    return wire.plain(value) if isinstance(value, str) else value


def _diagnosis(document: DiagnosisDocument) -> Diagnosis:
    return Diagnosis(
        format=document.format,
        num_classes=document.num_classes,
        input=messages.input_from(document.input),
        images=document.images,
        available=document.available,
        whole_numbers=document.whole_numbers,
        lowest=document.lowest,
        highest=document.highest,
        labels=None if document.labels is None else tuple(document.labels),
        trials=tuple(map(_trial, document.trials)),
        margins=tuple(document.margins),
        gradients=tuple(document.gradients),
        probabilities=document.probabilities,
        fault=None if document.fault is None else _fault(document.fault),
    )


def _fault(document: FaultDocument) -> Fault:
    return Fault(wire.plain(document.what), wire.plain(document.hint))


def _trial(document: TrialDocument) -> Trial:
    return Trial(_preparation(document.preparation), tuple(document.predicted), tuple(document.losses))


def _preparation(document: PreparationDocument) -> Preparation:
    mean, std = (None if part is None else tuple(part) for part in (document.mean, document.std))
    return Preparation(document.low, document.high, mean, std, document.reversed)
