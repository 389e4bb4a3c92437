"""What the child may say: the documents of the channel, as strict models.

Raw measurements only. There is no place for a verdict, a threshold or a score, so a child that sends one is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backdoor_gate.worker.wire import malformed, plain

MAX_ARRAYS = 64
"""Artefacts of one detector."""
MAX_ARRAY_BYTES = 32 << 20
"""Bytes of all artefacts of one detector together."""
MAX_TRIED = 500
"""Images of one trial of a diagnosis."""
MAX_TRIALS = 64
MAX_EXAMPLES = 16
"""Example images of one trigger."""
MAX_EMBEDDED = 400
"""Images of an embedding, clean and triggered."""
MAX_COMPONENTS = 16
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


class PredictionDocument(Document):
    """A `Prediction`."""

    class_index: Count
    probability: Share


class ArtefactDocument(Document):
    """What an array frame holds; the frames follow in the order of these."""

    name: Literal["trigger", "mask", "pattern", "clean", "triggered"]
    class_index: Count
    source_class: Count | None
    example: Annotated[int, Field(ge=0, lt=MAX_EXAMPLES)]
    prediction: PredictionDocument | None
    shape: Shape

    @property
    def nbytes(self) -> int:
        """Exact length of the array frame, in bytes."""
        channels, height, width = self.shape
        return _FLOAT32_BYTES * channels * height * width


class PairsDocument(Document):
    """The pairs of a `Measured`, by column."""

    sources: Annotated[list[Count], Field(fail_fast=True)]
    targets: Annotated[list[Count], Field(fail_fast=True)]
    strengths: Annotated[list[NonNegative | None], Field(fail_fast=True)]
    success: Annotated[list[Share | None], Field(fail_fast=True)]
    leads: Annotated[list[Finite], Field(fail_fast=True)]

    def rows(self) -> list[tuple[int, int, float | None, float | None, float]]:
        """Return the pairs, one by one."""
        columns = (self.sources, self.targets, self.strengths, self.success, self.leads)
        return list(zip(*columns, strict=True))


class ConfirmationDocument(Document):
    """A `Confirmation`."""

    source: Count | None
    target: Count
    strength: NonNegative | None
    success: Share | None
    likeness: Annotated[float, Field(ge=-1, le=1)] | None


class ControlDocument(Document):
    """A `Control`."""

    source: Count | None
    target: Count
    strength: NonNegative | None


class ScreeningDocument(Document):
    """A `Screening`."""

    left_out: Annotated[list[Count], Field(fail_fast=True)]
    drawn: Annotated[list[Count], Field(fail_fast=True)]


class MeansDocument(Document):
    """A `Means`."""

    words: Annotated[str, Field(min_length=1, max_length=100)]
    source: Count | None
    particular: bool


class MeasuredDocument(Document):
    """A `Measured`."""

    kind: Literal["measured"]
    detector: Text
    values: Annotated[list[Finite | None], Field(fail_fast=True)]
    success: Annotated[list[Share | None], Field(fail_fast=True)] | None
    verified: bool
    cost: CostDocument
    artefacts: Annotated[list[ArtefactDocument], Field(max_length=MAX_ARRAYS, fail_fast=True)]
    pairs: PairsDocument
    confirmations: Annotated[list[ConfirmationDocument], Field(fail_fast=True)]
    controls: Annotated[list[ControlDocument], Field(fail_fast=True)]
    noise_classes: Annotated[list[Count], Field(fail_fast=True)]
    screening: ScreeningDocument | None
    means: Annotated[list[MeansDocument], Field(fail_fast=True)]


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


class EmbeddingDocument(Document):
    """An `Embedding`; its components are the last array frame, (rows, components) float32."""

    shares: Annotated[list[Share], Field(min_length=2, max_length=MAX_COMPONENTS, fail_fast=True)]
    labels: Annotated[list[Count], Field(min_length=2, max_length=MAX_EMBEDDED, fail_fast=True)]
    triggered: Annotated[list[bool], Field(min_length=2, max_length=MAX_EMBEDDED, fail_fast=True)]
    penultimate: bool
    detector: Text
    target: Count
    source: Count | None
    seconds: NonNegative
    model_passes: Count

    @property
    def nbytes(self) -> int:
        """Exact length of the array frame, in bytes."""
        return _FLOAT32_BYTES * len(self.labels) * len(self.shares)


class ScanDocument(Document):
    """A `Scan`, less what the parent knows better: isolation, seed, peak memory."""

    num_classes: Annotated[int, Field(ge=1, le=1 << 20)]
    input: InputDocument
    format: Text
    data: DataDocument
    evidence: Annotated[list[Annotated[EvidenceDocument, Field(discriminator="kind")]], Field(fail_fast=True)]
    embedding: EmbeddingDocument | None
    torch: Text
    device: Text


class MachineDocument(Document):
    """A `Machine`."""

    kind: Literal["machine"]
    torch: Text
    device: Text


class InspectionDocument(Document):
    """An `Inspection`."""

    kind: Literal["inspection"]
    format: Text
    graph: bool
    fixed_batch: Size | None
    shape: Shape | None
    num_classes: Size | None


class PreparationDocument(Document):
    """A `Preparation`."""

    low: Finite
    high: Finite
    mean: Annotated[list[Finite], Field(fail_fast=True)] | None
    std: Annotated[list[Finite], Field(fail_fast=True)] | None
    reversed: bool


class TrialDocument(Document):
    """A `Trial`."""

    preparation: PreparationDocument
    predicted: Annotated[list[Count], Field(max_length=MAX_TRIED, fail_fast=True)]
    losses: Annotated[list[NonNegative], Field(max_length=MAX_TRIED, fail_fast=True)]


class FaultDocument(Document):
    """A `Fault`."""

    what: Text
    hint: Text


class DiagnosisDocument(Document):
    """A `Diagnosis`."""

    kind: Literal["diagnosis"]
    format: Text
    num_classes: Annotated[int, Field(ge=2, le=1 << 20)]
    input: InputDocument
    images: Count
    available: Count
    whole_numbers: bool
    lowest: Finite
    highest: Finite
    labels: Annotated[list[Count], Field(fail_fast=True)] | None
    trials: Annotated[list[TrialDocument], Field(min_length=1, max_length=MAX_TRIALS, fail_fast=True)]
    margins: Annotated[list[NonNegative], Field(max_length=MAX_TRIED, fail_fast=True)]
    gradients: Annotated[list[NonNegative | None], Field(max_length=MAX_TRIED, fail_fast=True)]
    probabilities: bool
    fault: FaultDocument | None


ExaminationDocument = MachineDocument | InspectionDocument | DiagnosisDocument


class FailureDocument(Document):
    """Why there is no scan; `kind` names the error to raise, `executable` the format that a refusal is about."""

    kind: Literal["refused", "usage", "unmeasured", "worker"]
    what: Text
    where: OptionalText
    hint: OptionalText
    executable: Literal["", "torchscript", "pickle"] = ""


class ResultDocument(Document):
    """The one result: a scan, the answer to another task, or a failure."""

    nonce: str
    scan: ScanDocument | None
    failure: FailureDocument | None
    examination: Annotated[ExaminationDocument, Field(discriminator="kind")] | None = None


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
    sizes = [artefact.nbytes for evidence in measured for artefact in evidence.artefacts]
    return [*sizes, scan.embedding.nbytes] if scan.embedding else sizes
