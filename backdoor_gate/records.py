"""The values that travel through the house, all frozen: what was asked, what was found, what was decided.

```
Candidate ─worker→ Scan(Evidence…) ─verdict→ Decision ─audit→ AuditReport ─→ reports, tags
```

Facts and judgements are separate types: a detector fills the former, only `verdict` the latter. No tensor library here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from backdoor_gate.errors import ExitCode

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from backdoor_gate.candidate_facts import Candidate, Signature
    from backdoor_gate.catalogue import DetectorPlan
    from backdoor_gate.illustrations import Artefact, Embedding
    from backdoor_gate.reference_facts import Calibration
    from backdoor_gate.trigger_facts import Confirmation, Control, Means, Pair, Screening

CHANCE_SIGMAS = 3.0
"""Accuracy must exceed guessing by so many standard errors, or the data does not belong to the model."""

# ---------------------------------------------------------------------------------------------- the input


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model takes: one image's shape, the range of its values, and the normalisation put before the model.

    `shape` is (C, H, W). `mean` and `std` (one value per channel) are applied to images already in [`low`, `high`];
    None means the model normalises by itself, or needs none.
    """

    shape: tuple[int, int, int]
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def side(self) -> int:
        """The shorter side of an image, in pixels."""
        return min(self.shape[1:])


@dataclass(frozen=True, slots=True)
class Architecture:
    """The pipeline's own trusted code that builds the network for an artifact which holds only weights."""

    target: str
    """`package.module:callable`."""
    search_path: Path | None
    """Folder to import it from before the installed packages; None: installed packages only."""
    kwargs: tuple[tuple[str, object], ...]
    """Arguments of the callable, JSON values, sorted by name."""
    digest: str
    """`sha256:<hex>` over the source files that define it."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What the policy says of the model's input and output; None where it leaves that to the data or the signature."""

    num_classes: int | None = None
    shape: tuple[int, int, int] | None = None
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


# ---------------------------------------------------------------------------------------------- the work order


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard bounds of one worker run."""

    seconds: float
    """Wall time, monotonic, from start to result."""
    memory: int
    """Bytes of address space on CPU."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that the worker is told. Holds no credential, no threshold and no name that a verdict hangs on."""

    candidate: Path
    formats: tuple[str, ...]
    """Acceptable formats, from the policy."""
    declared: Declared
    signature: Signature | None
    architecture: Architecture | None
    data: Path | None
    """Clean images: an npz file or a class-per-folder image tree. None: synthetic probes."""
    max_images: int | None
    detectors: tuple[DetectorPlan, ...]
    device: str
    """`auto`, `cpu` or `cuda`."""
    seed: int
    limits: Limits
    weights_in: str | None = None
    """`Candidate.weights_in`: no file that lies elsewhere is measured."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the worker is. Numbers only: nothing of the candidate's is shown while it runs."""

    detector: int
    """Position in `Job.detectors` of the detector that is running."""
    done: int
    total: int
    """Steps of it in all, at least 1, of which so many are `done`."""
    classes: tuple[int, int]
    """First and last class of the group that is running, inclusive."""
    seconds_left: float | None = None
    """Estimate for the whole scan."""


# ---------------------------------------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class Cost:
    """What a measurement took: wall seconds, images put through the model (forward or with gradient), clean images."""

    seconds: float = 0.0
    model_passes: int = 0
    images_used: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """A detector's class vector. Raw values only: what they mean is `verdict`'s business."""

    detector: str
    values: tuple[float | None, ...]
    """(K,) the statistic of each class in the detector's unit; None: right-censored, its trigger never succeeded."""
    success: tuple[float | None, ...] | None = None
    """(K,) share of held-out images that the trigger sends there, in [0, 1], or None; None as a whole: no triggers."""
    verified: bool = False
    """True when `success` was measured on held-out clean images, False on synthetic probes."""
    cost: Cost = Cost()
    artefacts: tuple[Artefact, ...] = ()
    pairs: tuple[Pair, ...] = ()
    """Of a detector that looks from class to class; `values` then holds each target's weakest pair."""
    confirmations: tuple[Confirmation, ...] = ()
    """Of the classes or pairs that stand out most, whatever the verdict; empty for a detector without triggers."""
    controls: tuple[Control, ...] = ()
    """Of all classes, or of some of the pairs; empty where there is no control, see `scan.control`."""
    screening: Screening | None = None
    """What was left out of many classes; their `values` and `success` are None. None: nothing was."""
    noise_classes: tuple[int, ...] = ()
    """Classes that plain noise leads to, ascending: of the network, the same for every detector, see `scan.noise`."""
    means: tuple[Means, ...] = ()
    """(K,) what moves images to each class; empty of a detector that searches for triggers, or has none."""
    side: int = 0
    """Pixels on the shorter side of the images; 0: not known."""


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """We looked and could not tell: crashed, timed out, non-finite, no gradient."""

    detector: str
    reason: str
    cost: Cost = Cost()


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """This detector cannot look at this model at all."""

    detector: str
    reason: str
    by_candidate: bool = True
    """Whether the candidate controls the reason (no such layer, odd graph): then it counts as missing."""


Evidence = Measured | Inconclusive | NotApplicable


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The probes that were used: `clean` or `synthetic` ones."""

    kind: str
    images: int
    accuracy: float | None
    """Of the model on the clean images, in [0, 1]; None without labels."""

    def is_guessing(self, num_classes: int) -> bool:
        """Tell whether the model gets no more of the images right than guessing would; False without labels."""
        if self.accuracy is None:
            return False
        chance = 1 / num_classes
        return self.accuracy <= chance + CHANCE_SIGMAS * math.sqrt(chance * (1 - chance) / max(1, self.images))


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a scan ran: torch version, device (`cpu`, `cuda:0 <name>`), isolation tier reached, seed."""

    torch: str
    device: str
    isolation: str
    seed: int
    isolation_notes: tuple[str, ...] = ()
    """What the tier was made of, and why it is no stronger one."""


@dataclass(frozen=True, slots=True)
class Scan:
    """All that one worker run measured."""

    num_classes: int
    input: InputSpec
    format: str
    """Of the weights: `safetensors`, `state_dict` or `pt2`; `torchscript` or `pickle` where the policy accepts them."""
    data: DataFacts
    evidence: tuple[Evidence, ...]
    runtime: Runtime
    peak_memory: int = 0
    """Peak resident set of the worker, in bytes, as the operating system counted it."""
    attested: bool = True
    """Whether no code of the candidate's could run in the worker, as ordered: else these may be its own words."""
    embedding: Embedding | None = None


# ---------------------------------------------------------------------------------------------- judgements


class Verdict(StrEnum):
    """The four answers. A PASS is no evidence under the tests listed, never 'safe'."""

    PASS = "PASS"  # noqa: S105 (no password)
    BLOCK = "BLOCK"
    INCONCLUSIVE = "INCONCLUSIVE"
    REFUSED = "REFUSED"

    @property
    def exit_code(self) -> ExitCode:
        """The contract's exit code of this verdict."""
        codes = {"PASS": ExitCode.OK, "BLOCK": ExitCode.BLOCKED, "REFUSED": ExitCode.REFUSED}
        return codes.get(self.value, ExitCode.UNMEASURED)


class Suspicion(StrEnum):
    """Whether something stood out below the threshold. Changes no verdict."""

    NONE = "none"
    WEAK = "weak"


class Status(StrEnum):
    """What became of one detector."""

    MEASURED = "measured"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """One detector's evidence, judged."""

    name: str
    required: bool
    status: Status
    reason: str
    """Plain words: why it is suspect, missing, or unremarkable."""
    excused: bool = False
    """Whether there is nothing for it to measure, whoever has made the model: then a PASS can do without it."""
    blocking: bool = False
    """Whether this result alone blocks the candidate."""
    anomaly_index: float | None = None
    """Deviation of the most extreme class on the log scale, in consistent MAD units; None where undefined."""
    threshold: float | None = None
    """Critical value of the index for this number of classes and rate; None where no outlier rule has power."""
    p_value: float | None = None
    """Chance of an index this large on a clean model of that many classes, under the log-normal null."""
    suspect_classes: tuple[int, ...] = ()
    unit: str = ""
    per_class: tuple[float | None, ...] = ()
    expected: tuple[float | None, ...] = ()
    """(K,) the same if nothing were planted, see `verdict.control`; None: not known. Empty without a control."""
    success: tuple[float | None, ...] | None = None
    unmeasured: tuple[int, ...] = ()
    cost: Cost = Cost()
    artefacts: tuple[Artefact, ...] = ()
    pairs: tuple[Pair, ...] = ()
    shares: tuple[float, ...] = ()
    """Share of the usual strength left of each of `pairs`, see `verdict.pair_residuals`; empty where none is usual."""
    suspect_pairs: tuple[tuple[int, int], ...] = ()
    """(source, target), the most extreme first."""
    confirmations: tuple[Confirmation, ...] = ()
    screening: Screening | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The judgement over all detectors."""

    verdict: Verdict
    suspicion: Suspicion
    suspect_classes: tuple[int, ...]
    reasons: tuple[str, ...]
    """At least one, the decisive one first."""
    detectors: tuple[DetectorResult, ...] = ()
    calibrated: bool = False
    """Whether the false-block rate comes from references rather than from a parametric null and provisional scales."""
    calibration: Calibration | None = None
    """None without references."""


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """Which policy judged: its path as given, and `sha256:<hex>` of the file's bytes."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was tested, and what a PASS does not speak of."""

    tested: tuple[str, ...]
    not_tested: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything about one audit, from which all reports and tags are written."""

    scan_id: str
    scanned_at: datetime
    expires_at: datetime
    requested: str
    candidate: Candidate | None
    """None when not even the bytes could be had."""
    policy: PolicyRef
    detector_pack: str
    false_block_rate: float
    decision: Decision
    coverage: Coverage
    seconds: float
    """Wall time of the whole audit."""
    architecture_digest: str | None = None
    data_digest: str | None = None
    entry_digest: str | None = None
    """Of the entry of the policy's `models` that judged; None when none was asked yet."""
    references_digest: str | None = None
    """Of the file of references that the policy names, whether or not the decision came to them."""
    scan: Scan | None = None
    """None when the worker brought no result."""
    tool_version: str = ""
    expected_detectors: tuple[str, ...] = field(default=())
    """Required detectors as listed before the scan started; each becomes a JUnit test case whatever happens."""
