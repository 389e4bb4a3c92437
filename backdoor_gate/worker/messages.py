"""The child's messages: records to frames on its side, frames to records on the parent's.

Whoever writes a message validates it against the same schema as whoever reads it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from backdoor_gate.errors import GateError, RefusedError, UnmeasuredError, UsageError, WorkerError
from backdoor_gate.illustrations import Artefact, Embedding, Prediction
from backdoor_gate.records import (
    Cost,
    DataFacts,
    Inconclusive,
    InputSpec,
    Measured,
    NotApplicable,
    Progress,
    Runtime,
    Scan,
)
from backdoor_gate.trigger_facts import Confirmation, Control, Means, Pair, Screening
from backdoor_gate.worker import schema, wire
from backdoor_gate.worker.wire import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from backdoor_gate.records import Evidence
    from backdoor_gate.worker.lockdown import Lockdown
    from backdoor_gate.worker.tiers import Isolation

_FAILURES: dict[str, type[GateError]] = {
    "refused": RefusedError,
    "usage": UsageError,
    "worker": WorkerError,
    "unmeasured": UnmeasuredError,
}

_MOST_COORDINATE = 1.001
"""The widest component has length one over all images."""

# ------------------------------------------------------------------------------------------------- child's side


def send_lockdown(channel: int, nonce: str, reached: Lockdown, attempts: dict[str, str]) -> None:
    """Write how far the child is locked down to the file descriptor `channel`."""
    document = schema.LockdownDocument.model_validate(
        {"nonce": nonce, **_fields(reached, "threads", "landlock", "faults"), "attempts": attempts}
    )
    wire.write_frame(channel, wire.LOCKDOWN, dump(document))


def send_progress(channel: int, nonce: str, progress: Progress) -> None:
    """Write how far the scan is to the file descriptor `channel`."""
    document = schema.ProgressDocument(
        nonce=nonce,
        detector=progress.detector,
        done=progress.done,
        total=progress.total,
        classes=list(progress.classes),
        seconds_left=progress.seconds_left,
    )
    wire.write_frame(channel, wire.PROGRESS, dump(document))


def send_scan(channel: int, nonce: str, scan: Scan, most: int = wire.MAX_RESULT_BYTES) -> None:
    """Write the result, then its arrays.

    Artefacts beyond a detector's share of the channel (`schema.MAX_ARRAYS`, `schema.MAX_ARRAY_BYTES`) are left out,
    the last ones first: they illustrate the evidence, they are not part of it.

    Args:
        channel: file descriptor of the channel.
        nonce: of the job.
        scan: the result.
        most: bytes that the parent takes, less the arrays', see `allowance`.

    Raises:
        UnmeasuredError: there is more to tell; nothing was written.
    """
    sent = [_within_share(e.artefacts) if isinstance(e, Measured) else () for e in scan.evidence]
    document = schema.ScanDocument(
        num_classes=scan.num_classes,
        input=_input_document(scan.input),
        format=scan.format,
        data=schema.DataDocument.model_validate(_fields(scan.data, "kind", "images", "accuracy")),
        evidence=[_evidence_document(*pair) for pair in zip(scan.evidence, sent, strict=True)],
        embedding=None if scan.embedding is None else _embedding_document(scan.embedding),
        torch=scan.runtime.torch,
        device=plain(scan.runtime.device),
    )
    result = schema.ResultDocument(nonce=nonce, scan=document, failure=None)
    # Whatever can fail has been done before the first byte goes out: a failure after half a result is no message.
    arrays = [artefact.array for artefacts in sent for artefact in artefacts]
    if scan.embedding is not None:
        arrays.append(scan.embedding.components)
    told = dump(result)
    if len(told) > most:
        what = f"a result of {len(told)} bytes, of which {most} can be told"
        raise UnmeasuredError(what, hint="lower the detectors' classes or sources")
    frames = [(wire.RESULT, told)]
    frames += [(wire.ARRAY, array.astype("<f4").tobytes()) for array in arrays]
    for kind, payload in frames:
        wire.write_frame(channel, kind, payload)


def send_failure(channel: int, nonce: str, error: GateError) -> None:
    """Write why there is no scan, as the result."""
    kind = next((kind for kind, family in _FAILURES.items() if isinstance(error, family)), "unmeasured")
    executable = error.executable if isinstance(error, RefusedError) else ""
    texts = {"what": plain(error.what), "where": plain(error.where), "hint": plain(error.hint)}
    document = schema.FailureDocument.model_validate({"kind": kind, **texts, "executable": executable})
    result = schema.ResultDocument(nonce=nonce, scan=None, failure=document)
    wire.write_frame(channel, wire.RESULT, dump(result))


def dump(document: schema.Document) -> bytes:
    """Return a document as JSON."""
    return json.dumps(document.model_dump(), allow_nan=False, separators=(",", ":")).encode()


def _fields(record: object, *names: str) -> dict[str, object]:
    return {name: getattr(record, name) for name in names}


def _within_share(artefacts: Iterable[Artefact]) -> tuple[Artefact, ...]:
    kept: list[Artefact] = []
    left = schema.MAX_ARRAY_BYTES
    for artefact in artefacts:
        left -= artefact.array.nbytes
        if left < 0 or len(kept) == schema.MAX_ARRAYS:
            break
        kept.append(artefact)
    return tuple(kept)


def _evidence_document(evidence: Evidence, artefacts: tuple[Artefact, ...]) -> schema.EvidenceDocument:
    if isinstance(evidence, NotApplicable):
        return schema.NotApplicableDocument(
            kind="not_applicable",
            detector=evidence.detector,
            reason=plain(evidence.reason),
            by_candidate=evidence.by_candidate,
        )
    cost = schema.CostDocument.model_validate(_fields(evidence.cost, "seconds", "model_passes", "images_used"))
    if isinstance(evidence, Inconclusive):
        reason = plain(evidence.reason)
        return schema.InconclusiveDocument(kind="inconclusive", detector=evidence.detector, reason=reason, cost=cost)
    return schema.MeasuredDocument(
        kind="measured",
        detector=evidence.detector,
        values=list(evidence.values),
        success=None if evidence.success is None else list(evidence.success),
        verified=evidence.verified,
        cost=cost,
        artefacts=[_artefact_document(artefact) for artefact in artefacts],
        pairs=schema.PairsDocument(
            sources=[pair.source for pair in evidence.pairs],
            targets=[pair.target for pair in evidence.pairs],
            strengths=[pair.strength for pair in evidence.pairs],
            success=[pair.success for pair in evidence.pairs],
            leads=[pair.lead for pair in evidence.pairs],
        ),
        confirmations=[schema.ConfirmationDocument.model_validate(asdict(each)) for each in evidence.confirmations],
        controls=[schema.ControlDocument.model_validate(asdict(each)) for each in evidence.controls],
        noise_classes=list(evidence.noise_classes),
        screening=_screening_document(evidence.screening),
        means=[
            schema.MeansDocument(words=plain(each.words), source=each.source, particular=each.particular)
            for each in evidence.means
        ],
    )


def _screening_document(screening: Screening | None) -> schema.ScreeningDocument | None:
    if screening is None:
        return None
    return schema.ScreeningDocument(left_out=list(screening.left_out), drawn=list(screening.drawn))


def _artefact_document(artefact: Artefact) -> schema.ArtefactDocument:
    told = artefact.prediction
    return schema.ArtefactDocument.model_validate(
        {
            **_fields(artefact, "name", "class_index", "source_class", "example"),
            "prediction": None if told is None else _fields(told, "class_index", "probability"),
            "shape": list(artefact.array.shape),
        }
    )


def _embedding_document(embedding: Embedding) -> schema.EmbeddingDocument:
    return schema.EmbeddingDocument.model_validate(
        {
            **_fields(embedding, "penultimate", "detector", "target", "source", "seconds", "model_passes"),
            **{name: list(getattr(embedding, name)) for name in ("shares", "labels", "triggered")},
        }
    )


def _input_document(spec: InputSpec) -> schema.InputDocument:
    return schema.InputDocument(
        shape=list(spec.shape),
        low=spec.low,
        high=spec.high,
        mean=None if spec.mean is None else list(spec.mean),
        std=None if spec.std is None else list(spec.std),
    )


# ------------------------------------------------------------------------------------------------ parent's side


def progress_from(document: schema.ProgressDocument) -> Progress:
    """Return the record of a progress document."""
    first, last = document.classes
    return Progress(document.detector, document.done, document.total, (first, last), document.seconds_left)


def failure_from(document: schema.FailureDocument) -> GateError:
    """Return the error that a failure document stands for, its texts made safe to show."""
    what, where, hint = plain(document.what), plain(document.where), plain(document.hint)
    if document.kind == "refused":
        return RefusedError(what, where=where, hint=hint, executable=document.executable)
    return _FAILURES[document.kind](what, where=where, hint=hint)


def scan_from(document: schema.ScanDocument, payloads: Iterable[bytes], *, isolation: Isolation, seed: int) -> Scan:
    """Return the record of a scan document that has passed `checks.check_scan`.

    Args:
        document: the result.
        payloads: the array frames, in order.
        isolation: what the child ran in, from the parent.
        seed: the job's.

    Raises:
        WorkerError: an array holds a number that is not finite.
    """
    arrays = iter(payloads)
    shown = input_from(document.input)
    evidence = tuple(_evidence_from(each, arrays, shown.side) for each in document.evidence)
    return Scan(
        num_classes=document.num_classes,
        input=shown,
        format=document.format,
        data=DataFacts(document.data.kind, document.data.images, document.data.accuracy),
        evidence=evidence,
        embedding=None if document.embedding is None else _embedding_from(document.embedding, next(arrays)),
        runtime=Runtime(plain(document.torch), plain(document.device), isolation.tier, seed, isolation.notes),
    )


def input_from(document: schema.InputDocument) -> InputSpec:
    """Return the record of an input document."""
    return InputSpec(
        shape=(document.shape[0], document.shape[1], document.shape[2]),
        low=document.low,
        high=document.high,
        mean=None if document.mean is None else tuple(document.mean),
        std=None if document.std is None else tuple(document.std),
    )


def _evidence_from(document: schema.EvidenceDocument, arrays: Iterator[bytes], side: int) -> Evidence:
    if isinstance(document, schema.NotApplicableDocument):
        return NotApplicable(document.detector, plain(document.reason), document.by_candidate)
    cost = Cost(**document.cost.model_dump())
    if isinstance(document, schema.InconclusiveDocument):
        return Inconclusive(document.detector, plain(document.reason), cost)
    return Measured(
        detector=document.detector,
        values=tuple(document.values),
        success=None if document.success is None else tuple(document.success),
        verified=document.verified,
        cost=cost,
        artefacts=tuple(_artefact_from(artefact, next(arrays)) for artefact in document.artefacts),
        pairs=tuple(Pair(*row) for row in document.pairs.rows()),
        confirmations=tuple(Confirmation(**each.model_dump()) for each in document.confirmations),
        controls=tuple(Control(**each.model_dump()) for each in document.controls),
        noise_classes=tuple(document.noise_classes),
        screening=_screening_from(document.screening),
        means=tuple(Means(plain(each.words), each.source, each.particular) for each in document.means),
        side=side,
    )


def _screening_from(document: schema.ScreeningDocument | None) -> Screening | None:
    return None if document is None else Screening(tuple(document.left_out), tuple(document.drawn))


def _artefact_from(document: schema.ArtefactDocument, payload: bytes) -> Artefact:
    return Artefact(
        document.name,
        document.class_index,
        _array_from(payload, document.shape),
        document.source_class,
        document.example,
        None if document.prediction is None else Prediction(**document.prediction.model_dump()),
    )


def _embedding_from(document: schema.EmbeddingDocument, payload: bytes) -> Embedding:
    components = _array_from(payload, (len(document.labels), len(document.shares)))
    if abs(components).max() > _MOST_COORDINATE:
        raise wire.malformed("coordinate beyond the widest component")
    return Embedding(
        components=components,
        shares=tuple(document.shares),
        labels=tuple(document.labels),
        triggered=tuple(document.triggered),
        penultimate=document.penultimate,
        detector=document.detector,
        target=document.target,
        source=document.source,
        seconds=document.seconds,
        model_passes=document.model_passes,
    )


def _array_from(payload: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
    import numpy as np  # noqa: PLC0415 (starts threads: the child imports this module before it locks itself down)

    array = np.frombuffer(payload, dtype="<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(array).all():
        raise wire.malformed("array with a number that is not finite")
    return array
