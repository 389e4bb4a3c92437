"""Reference populations: the scores of known-good models, and nothing else of them. Read strictly, written plainly."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backdoor_gate import strict_json
from backdoor_gate.catalogue import BY_NAME, COMPARABLE_PACKS, PACK_VERSION
from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backdoor_gate.catalogue import DetectorPlan

MAX_BYTES = 16 << 20
"""Far more than the 10,000 references that a file may hold need."""

FARTHEST = 6.0
"""Scores end here on both sides, a factor of 400: beyond it no difference means anything."""

HINT = "write one with 'backdoor-gate calibrate MODEL... --policy FILE --out PATH'"

Line = Annotated[str, Field(max_length=4096)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Detector = Annotated[str, Field(max_length=100)]
ScoreValue = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Side = Annotated[int, Field(ge=1, le=1 << 20)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelKind(_Part):
    """What kind of model it is: models of one kind have scores that may be compared as they are."""

    classes: Annotated[int, Field(ge=2, le=100_000)]
    shape: tuple[Side, Side, Side]
    """Of one image: channels, height, width."""
    architecture: Line | None = None
    """Architecture family, where it is known: `package.module:callable` of a policy. Informs, and is not compared."""

    def like(self, other: ModelKind) -> bool:
        """Whether number of classes and image shape are the same."""
        return (self.classes, self.shape) == (other.classes, other.shape)


class KnownModel(_Part):
    """One known-good model."""

    name: Line
    """The model as it was asked for."""
    digest: Digest
    """Of its bytes: a model counts once."""
    kind: ModelKind
    blocked: bool
    """Whether the shipped limits block it. It counts nevertheless: who leaves such models out states too low a rate."""
    excluded: bool = False
    """Left out by hand, with `--exclude`."""
    scores: dict[Detector, ScoreValue]
    """Score by detector, see `verdict.scores`; left out where it has none."""


class References(_Part):
    """A population of references, and what it was measured with."""

    format: Literal["backdoor-gate references"] = "backdoor-gate references"
    version: Literal[1] = 1
    detector_pack: Annotated[str, Field(max_length=40)] = PACK_VERSION
    detectors: dict[Detector, dict[Detector, int]]
    """Settings of each detector that ran."""
    data: Literal["clean", "synthetic"]
    """Kind of the images that it ran on."""
    false_block_rate: Annotated[float, Field(gt=0, le=0.5)]
    """The policy's: the shipped limits that `blocked` speaks of depend on it."""
    models: Annotated[tuple[KnownModel, ...], Field(max_length=10_000)] = ()

    @model_validator(mode="after")
    def _each_once(self) -> References:
        digests = [model.digest for model in self.models]
        if len(set(digests)) != len(digests):
            raise ValueError("a model is listed twice")
        return self

    @property
    def counted(self) -> tuple[KnownModel, ...]:
        """Those that count."""
        return tuple(model for model in self.models if not model.excluded)

    @property
    def blocked(self) -> int:
        """How many of those that count the shipped limits block."""
        return sum(model.blocked for model in self.counted)

    @property
    def smallest_rate(self) -> float:
        """Smallest false-block rate that they support: those that the limits block rank in front of every model."""
        return (1 + self.blocked) / (len(self.counted) + 1)

    def without(self, digest: str) -> References:
        """Return the others: a model is not its own reference."""
        return self.model_copy(update={"models": tuple(model for model in self.models if model.digest != digest)})

    def unfit(self, plans: Iterable[DetectorPlan]) -> str | None:
        """Return why the scores do not compare with those of a policy's detectors; None where they do."""
        if self.detector_pack not in COMPARABLE_PACKS:
            return f"the references were measured with detector pack {self.detector_pack}, this is {PACK_VERSION}"
        ordered = settings_by_name(plans)
        names = sorted(
            name for name in ordered.keys() | self.detectors if ordered.get(name) != self.detectors.get(name)
        )
        if names:
            return f"the references were measured with other settings of {', '.join(names)}"
        return None


def settings_by_name(plans: Iterable[DetectorPlan]) -> dict[str, dict[str, int]]:
    """Return the settings of each detector of a policy, as a file of references holds them."""
    return {plan.name: dict(plan.settings) for plan in plans}


def parse(content: bytes, where: str) -> References:
    """Return the references in these bytes.

    Args:
        content: a whole file.
        where: its name, for the message.

    Raises:
        UsageError: they are no references of this version.
    """
    if len(content) > MAX_BYTES:
        raise UsageError(f"larger than {MAX_BYTES >> 20} MiB", where=where, hint=HINT)
    try:
        document = strict_json.parse(content)
    except strict_json.JsonError as error:
        raise UsageError("not JSON", where=where, hint=HINT) from error
    told = isinstance(document, dict) and document.get("format") == References.model_fields["format"].default
    if not told:
        raise UsageError("no references of the gate", where=where, hint=HINT)
    if document.get("version") != 1:
        raise UsageError("references of a version that is not known", where=where, hint=HINT)
    try:
        # From JSON again: in it, strictly, a list is a tuple.
        return References.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(ascii(part).strip("'")[:60] for part in first["loc"])
        raise UsageError(f"not valid: {place}: {first['msg']}"[:300], where=where, hint=HINT) from error


@cache
def shipped() -> References:
    """Return the references of the gate's own zoo of clean networks: they inform, and support no rate."""
    name = "references_zoo.json"
    return parse(resources.files("backdoor_gate.verdict").joinpath(name).read_bytes(), name)


def render(references: References) -> bytes:
    """Return the file's bytes: the same references, the same bytes."""
    return (json.dumps(references.model_dump(mode="json"), indent=1) + "\n").encode()


def digest(content: bytes) -> str:
    """Return `sha256:<hex>` of a file of references."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def known_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of detectors of this pack, in its order and to four decimals."""
    return {name: round(scores[name], 4) for name in BY_NAME if name in scores}
