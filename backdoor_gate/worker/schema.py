"""What the child may say: the documents of the channel, as strict models, and the checks against the job.

Raw measurements only. There is no place for a verdict, a threshold or a score, so a child that sends one is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backdoor_gate.worker.wire import malformed, plain

if TYPE_CHECKING:
    from backdoor_gate.records import Job

MAX_ARRAYS = 64
"""Artefacts of one detector."""
MAX_ARRAY_BYTES = 32 << 20
"""Bytes of all artefacts of one detector together."""
_FLOAT32_BYTES = 4

Text = Annotated[str, Field(min_length=1, max_length=2000)]
OptionalText = Annotated[str, Field(max_length=2000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9' ]{1,30}$")]
Size = Annotated[int, Field(ge=1, le=1 << 20)]
Shape = Annotated[list[Size], Field(min_length=3, max_length=3)]


class Document(BaseModel):
    """Base of all: no coercion, no unknown keys; all keys are written, so all are required."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class LockdownDocument(Document):
    """How far the child locked itself down, and what it met when it tried to break out."""

    nonce: str
    threads: Count
    landlock: Count
    faults: dict[Literal["user", "privileges", "landlock", "seccomp"], Word]
    attempts: dict[Word, Word]


class ProgressDocument(Document):
    """A `Progress`."""

    nonce: str
    detector: Count
    done: Count
    total: Annotated[int, Field(ge=1)]
    classes: Annotated[list[Count], Field(min_length=2, max_length=2)]
    seconds_left: NonNegative | None


class CostDocument(Document):
    """A `Cost`."""

    seconds: NonNegative
    model_passes: Count
    images_used: Count


class ArtefactDocument(Document):
    """What an array frame holds; the frames follow in the order of these."""

    name: Literal["trigger", "mask", "pattern", "clean", "triggered"]
    class_index: Count
    shape: Shape

    @property
    def nbytes(self) -> int:
        """Exact length of the array frame, in bytes."""
        channels, height, width = self.shape
        return _FLOAT32_BYTES * channels * height * width


class MeasuredDocument(Document):
    """A `Measured`."""

    kind: Literal["measured"]
    detector: Text
    values: Annotated[list[Finite | None], Field(fail_fast=True)]
    success: Annotated[list[Share | None], Field(fail_fast=True)] | None
    verified: bool
    cost: CostDocument
    artefacts: Annotated[list[ArtefactDocument], Field(max_length=MAX_ARRAYS, fail_fast=True)]


class InconclusiveDocument(Document):
    """An `Inconclusive`."""

    kind: Literal["inconclusive"]
    detector: Text
    reason: Text
    cost: CostDocument


class NotApplicableDocument(Document):
    """A `NotApplicable`."""

    kind: Literal["not_applicable"]
    detector: Text
    reason: Text
    by_candidate: bool


EvidenceDocument = MeasuredDocument | InconclusiveDocument | NotApplicableDocument


class InputDocument(Document):
    """An `InputSpec`."""

    shape: Shape
    low: Finite
    high: Finite
    mean: Annotated[list[Finite], Field(fail_fast=True)] | None
    std: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(fail_fast=True)] | None


class DataDocument(Document):
    """A `DataFacts`."""

    kind: Literal["clean", "synthetic"]
    images: Count
    accuracy: Share | None


class ScanDocument(Document):
    """A `Scan`, less what the parent knows better: isolation, seed, peak memory."""

    num_classes: Annotated[int, Field(ge=1, le=1 << 20)]
    input: InputDocument
    format: Text
    data: DataDocument
    evidence: Annotated[list[Annotated[EvidenceDocument, Field(discriminator="kind")]], Field(fail_fast=True)]
    torch: Text
    device: Text


class FailureDocument(Document):
    """Why there is no scan; `kind` names the error to raise."""

    kind: Literal["refused", "usage", "unmeasured", "worker"]
    what: Text
    where: OptionalText
    hint: OptionalText


class ResultDocument(Document):
    """The one result: a scan or a failure."""

    nonce: str
    scan: ScanDocument | None
    failure: FailureDocument | None


D = TypeVar("D", bound=Document)


def validate(model: type[D], value: object) -> D:
    """Return `value` as a `model`.

    Raises:
        WorkerError: it is none; the message names the first key at fault.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    rule = {"extra_forbidden": f"unknown key '{place}'", "missing": f"missing key '{place}'"}
    raise malformed(plain(rule.get(fault["type"], f"{place}: {fault['msg']}"), 120))


def array_sizes(scan: ScanDocument) -> list[int]:
    """Return the lengths in bytes of the array frames that must follow `scan`."""
    measured = (evidence for evidence in scan.evidence if isinstance(evidence, MeasuredDocument))
    return [artefact.nbytes for evidence in measured for artefact in evidence.artefacts]


def check_progress(progress: ProgressDocument, job: Job) -> None:
    """Hold a progress message against the job.

    Raises:
        WorkerError: a detector that was not ordered, more steps done than there are, or classes out of order.
    """
    first, last = progress.classes
    _require(
        (progress.detector < len(job.detectors), "progress of no detector"),
        (progress.done <= progress.total, "progress beyond the end"),
        (first <= last, "progress with classes out of order"),
    )


def check_scan(scan: ScanDocument, job: Job) -> None:
    """Hold a scan against the job it answers.

    Raises:
        WorkerError: other detectors than ordered, a count that differs from the number of classes, a class or a shape
            that the model does not have, or a claim that the job rules out.
    """
    declared = job.declared
    channels = scan.input.shape[0]
    _require(
        (scan.format in job.formats, "format that the policy does not list"),
        (declared.num_classes in (None, scan.num_classes), "class count is not the policy's"),
        (declared.shape is None or list(declared.shape) == scan.input.shape, "input shape is not the policy's"),
        (scan.input.low < scan.input.high, "input range is empty"),
        (all(len(part) == channels for part in (scan.input.mean, scan.input.std) if part), "normalisation per channel"),
        (scan.data.kind == "synthetic" or job.data is not None, "clean images that were never given"),
        ([e.detector for e in scan.evidence] == [p.name for p in job.detectors], "other detectors than ordered"),
    )
    for evidence in scan.evidence:
        if isinstance(evidence, MeasuredDocument):
            _check_measured(evidence, scan)


def _check_measured(measured: MeasuredDocument, scan: ScanDocument) -> None:
    lengths = [len(vector) for vector in (measured.values, measured.success) if vector is not None]
    mask = [1, *scan.input.shape[1:]]
    artefacts = measured.artefacts
    _require(
        (all(length == scan.num_classes for length in lengths), "not one value per class"),
        (scan.data.kind == "clean" or not measured.verified, "verified without clean images"),
        (all(a.class_index < scan.num_classes for a in artefacts), "artefact of no class"),
        (all(a.shape == (mask if a.name == "mask" else scan.input.shape) for a in artefacts), "artefact's shape"),
        (sum(a.nbytes for a in artefacts) <= MAX_ARRAY_BYTES, "artefacts larger than allowed"),
    )


def _require(*claims: tuple[bool, str]) -> None:
    for holds, rule in claims:
        if not holds:
            raise malformed(rule)
