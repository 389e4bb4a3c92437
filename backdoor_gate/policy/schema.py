"""The policy file, key by key. Every key that this version does not act on is an error."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from backdoor_gate.catalogue import DETECTORS, DetectorSpec
from backdoor_gate.policy.legal import (
    DISTINCT,
    Arguments,
    Finite,
    Flag,
    KeyPlace,
    Mean,
    Range,
    Shape,
    Std,
    Target,
    Text,
    Whole,
    duration,
    fault,
    must_be,
    size,
)
from backdoor_gate.units import DURATION_UNITS, SIZE_UNITS

DAY, GIB = DURATION_UNITS["d"], SIZE_UNITS["GiB"]
PLANNED = ("waivers",)
"""Keys of the policy format that this version cannot act on; ignoring them would promise what is not kept."""


class Section(BaseModel):
    """A mapping with fixed keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if value is None:
            raise fault("is empty; fill it in, or remove the key")
        if not isinstance(value, dict):
            raise fault(f"must be a mapping with keys among {', '.join(cls.model_fields)}")
        for key in value:
            if key in PLANNED and cls is PolicyFile:
                raise fault("not supported by this version; remove it", key)
            if key not in cls.model_fields:
                raise fault(cls._unknown(key), key)
        return value

    @classmethod
    def _unknown(cls, key: str) -> str:
        close = difflib.get_close_matches(key, cls.model_fields, n=1)
        meant = f"did you mean '{close[0]}'? " if close else ""
        return f"unknown key; {meant}legal keys: {', '.join(cls.model_fields)}"


class NormalizeSection(Section):
    """Normalisation that is put before the model, for images already in `range`."""

    mean: Mean
    """Subtracted, one value per channel."""
    std: Std
    """Divided by, one value per channel."""


class InputSection(Section):
    """What the model takes."""

    shape: Shape | None = None
    """Shape of one image. Left out: the data's, else the signature's."""
    range: Range = [0, 1]
    """Lowest and highest value of an image before normalisation."""
    normalize: NormalizeSection | None = None
    """Left out: the model normalises by itself, or needs none."""

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        if self.normalize is None:
            return self
        lengths = {"mean": len(self.normalize.mean), "std": len(self.normalize.std)}
        channels = self.shape[0] if self.shape else lengths["mean"]
        for key, length in lengths.items():
            if length != channels:
                raise fault(f"has {length} values for {channels} channels", "normalize", key)
        return self


class ModelSection(Section):
    """How a candidate is built and what it takes."""

    architecture: Target | None = None
    """Trusted code of the pipeline that builds the network. Not needed where the artifact holds a graph (pt2)."""
    architecture_path: Text | None = None
    """Folder to import the architecture from, before the installed packages."""
    architecture_kwargs: Arguments = {}
    """Arguments of the callable."""
    num_classes: Annotated[int, Whole(2, 100_000)] | None = None
    """Number of classes. Left out: as many as the labels of the data need, else the signature's. It must be stated
    where the data lacks the last classes, and above 16384."""
    input: InputSection = InputSection()
    """Shape, range and normalisation of an image."""
    formats: Annotated[
        list[Literal["safetensors", "state_dict", "pt2"]],
        Field(min_length=1),
        DISTINCT,
        must_be("a list of different formats among safetensors, state_dict, pt2"),
    ] = ["safetensors", "state_dict", "pt2"]
    """Acceptable formats of the weights."""
    unsafe_formats: Annotated[
        list[Literal["torchscript", "pickle"]],
        DISTINCT,
        must_be("a list of different formats among torchscript, pickle"),
    ] = []
    """Formats that can run the candidate's code, accepted besides; the best verdict on one is INCONCLUSIVE."""

    @model_validator(mode="after")
    def _arguments_have_a_callable(self) -> Self:
        for key in ("architecture_path", "architecture_kwargs"):
            if getattr(self, key) and self.architecture is None:
                raise fault("means nothing without model.architecture", key)
        return self


class DataSection(Section):
    """Clean images to measure on."""

    clean: Text | None = None
    """An npz file (images, labels), a tree with one folder of images per class, or an artifact URI. Left out: none."""
    max_images: Annotated[int, Whole(1, 100_000)] | None = None
    """How many of them are used at most. Left out: 500, or 10 of each class where that is more, up to 2,000."""


class EntrySection(Section):
    """One entry of `models`."""

    match: Text
    """Name or path of the models it is for; `*` and `?` stand for other characters."""
    model: ModelSection = ModelSection()
    """As the key `model` of the policy."""
    data: DataSection | None = None
    """As the key `data` of the policy, which it replaces."""


def usual_isolation() -> Literal["B", "C"]:
    """Return the isolation tier that a policy asks for where it names none: the one that this kind of system offers."""
    return "B" if sys.platform == "linux" else "C"


class LimitsSection(Section):
    """Hard bounds of one scan."""

    time: Annotated[str, duration(1, 7 * DAY, "90s, 10m or 1h")] = "1h"
    """Wall time."""
    memory: Annotated[str, size(GIB, 1024 * GIB, "8GiB")] = "8GiB"
    """Address space of the scanning process."""
    isolation: Annotated[Literal["A", "B", "C"], must_be("A, B or C")] = Field(default_factory=usual_isolation)
    """Weakest isolation tier that is accepted; A is the strongest. Left out: B on Linux, C elsewhere."""


class DetectorSection(Section):
    """One detector of the set that runs."""

    # Made from the catalogue: to look for docstrings in a source that is not there is a fifth of a command's start.
    model_config = ConfigDict(use_attribute_docstrings=False)


def _detector_section(spec: DetectorSpec) -> type[DetectorSection]:
    fields: dict[str, Any] = {
        "required": (Flag, Field(spec.required, description="Whether there is no PASS without its evidence."))
    }
    for setting in spec.settings:
        kind = Annotated[int, Whole(setting.low, setting.high)]
        fields[setting.name] = (kind, Field(setting.default, description=setting.meaning))
    name = "".join(word.title() for word in spec.name.split("_")) + "Section"
    return create_model(name, __base__=DetectorSection, __doc__=f"{spec.title}: sees {spec.claim}.", **fields)


_DETECTOR_SECTIONS = {spec.name: _detector_section(spec) for spec in DETECTORS}


class _DetectorSet(Section):
    """The detectors that run, and no others. An empty value of one means its defaults."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1}, use_attribute_docstrings=False)

    @model_validator(mode="after")
    def _something_decides(self) -> Self:
        if not self.model_fields_set:
            raise fault("is empty; name at least one detector, or leave the key out for the default set")
        if not any(section.required for section in self.sections().values()):
            raise fault("no detector is required; set 'required: true' on at least one")
        return self

    def sections(self) -> dict[str, Any]:
        """Return the section of each detector that runs, by name, in catalogue order."""
        return {
            name: getattr(self, name) or section()
            for name, section in _DETECTOR_SECTIONS.items()
            if name in self.model_fields_set
        }


if TYPE_CHECKING:
    DetectorsSection = _DetectorSet
else:
    DetectorsSection = create_model(
        "DetectorsSection",
        __base__=_DetectorSet,
        __doc__=_DetectorSet.__doc__,
        **{name: (section | None, None) for name, section in _DETECTOR_SECTIONS.items()},
    )


class SigningSection(Section):
    """Who signs verdicts, and whose signature counts."""

    key: KeyPlace | None = None
    """Private key that signs: a file, or env:NAME for an environment variable. Left out: the user's own key."""
    trusted: Annotated[
        list[Text], Field(min_length=1, max_length=16), DISTINCT, must_be("a list of different public key files")
    ]
    """Public key files; a verdict counts if one of them signed it."""


class PolicyFile(Section):
    """A policy of backdoor-gate. Paths are relative to the file."""

    version: Annotated[int, Field(strict=True, ge=1, le=1), must_be("1")]
    """Version of this format."""
    model: ModelSection | None = None
    """The model, where the policy is for one kind of model."""
    models: Annotated[list[EntrySection], Field(min_length=1)] | None = None
    """In place of `model`: the first entry that matches is used, and none is an error."""
    data: DataSection | None = None
    """Clean images."""
    false_block_rate: Annotated[Finite, Field(ge=1e-6, le=0.5), must_be("a number between 0.000001 and 0.5")] = 0.01
    """Accepted chance that a clean model is blocked, of the whole decision, all detectors together."""
    references: Text | None = None
    """Scores of known-good models, written by `calibrate`: they make `false_block_rate` a measured one."""
    detectors: DetectorsSection = None  # type: ignore[assignment]
    """Those that run, with `required` and their settings. Left out: the shipped default set; empty: an error."""
    limits: LimitsSection = LimitsSection()
    """What stops a scan."""
    max_unmeasured: Annotated[Finite, Field(ge=0, lt=1), must_be("a number of at least 0 and below 1")] = 0.2
    """Share of classes that may stay unmeasured before a measurement counts as missing."""
    signing: SigningSection = None  # type: ignore[assignment]
    """Left out: the key that this machine's user signs with, and no other."""
    verdict_ttl: Annotated[str, duration(3600, 3650 * DAY, "90d")] = "90d"
    """How long a verdict is valid."""

    @model_validator(mode="after")
    def _one_way_to_name_models(self) -> Self:
        if self.model is not None and self.models is not None:
            raise fault("stands beside 'model'; keep one of them", "models")
        return self


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a policy file."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **PolicyFile.model_json_schema(), "title": "backdoor-gate policy"}
