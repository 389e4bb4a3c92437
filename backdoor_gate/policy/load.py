"""Reads a policy file: bytes → YAML → schema → Policy. Whatever is wrong becomes one line with file, line and key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from backdoor_gate.bounded_files import read_bounded
from backdoor_gate.catalogue import DETECTORS, DetectorPlan
from backdoor_gate.errors import UsageError, together
from backdoor_gate.policy.plan import ModelPlan, Policy, Signing
from backdoor_gate.policy.schema import DataSection, ModelSection, PolicyFile, SigningSection
from backdoor_gate.policy.template import SHIPPED
from backdoor_gate.records import Declared, Limits, PolicyRef
from backdoor_gate.sources import is_artifact
from backdoor_gate.strict_yaml import MAX_BYTES, Document, StrictYamlError, core_scalar, read
from backdoor_gate.units import parse_duration, parse_size
from backdoor_gate.untrusted import one_line
from backdoor_gate.verdict.judgement import Judgement

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

_INIT = "write one with 'backdoor-gate policy init'"
_GENERIC = {"missing": "missing", "list_type": "must be a list", "too_short": "must not be empty"}


def load(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        UsageError: it cannot be read, or breaks a rule of the format.
    """
    return parse(read_bounded(path, MAX_BYTES, hint=_INIT, unfit="name the policy's YAML file"), path)


def shipped(path: Path = SHIPPED) -> Policy:
    """Return the shipped policy, without the lines of its keys: it is no file of the user's.

    Args:
        path: what it is called in messages.
    """
    return replace(parse(SHIPPED.read_bytes(), path), lines={})


def parse(content: bytes, path: Path) -> Policy:
    """Read a policy from its bytes.

    Args:
        content: the whole file.
        path: where it is or will be; its folder is what relative paths start from.

    Raises:
        UsageError: it breaks a rule of the format.
    """
    try:
        document = read(content, core_scalar)
    except StrictYamlError as error:
        raise UsageError(error.rule, where=_place(path, error.line)) from error
    if document.value is None:
        raise UsageError("empty", where=str(path), hint=_INIT)
    try:
        file = PolicyFile.model_validate(document.value)
    except ValidationError as error:
        raise _complaint(error, document, path) from error
    return replace(_policy(file, content, path), lines={_dotted(keys): line for keys, line in document.lines.items()})


# ---------------------------------------------------------------------------------------------- complaints


def _complaint(error: ValidationError, document: Document, path: Path) -> UsageError:
    """Return all complaints in the order of the file."""
    details = error.errors(include_url=False)
    located = sorted((_line(_keys(detail), document), index) for index, detail in enumerate(details))
    return together(_complaint_of(details[index], path, line) for line, index in located)


def _complaint_of(detail: ErrorDetails, path: Path, line: int) -> UsageError:
    keys = _keys(detail)
    name = f"{_dotted(keys)}: " if keys else ""
    return UsageError(name + _statement(detail), where=_place(path, line))


def _keys(detail: ErrorDetails) -> tuple[str | int, ...]:
    return (*detail["loc"], *detail.get("ctx", {}).get("keys", ()))


def _line(keys: tuple[str | int, ...], document: Document) -> int:
    known = (document.lines.get(keys[:length]) for length in range(len(keys), -1, -1))
    return next(line for line in known if line is not None)


def _dotted(keys: tuple[str | int, ...]) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{_visible(key)}" for key in keys)
    return text.removeprefix(".")


def _visible(key: str) -> str:
    shown = one_line(key, 60, ascii_only=True)
    return shown if key.isascii() and key.isprintable() else f"'{shown}'"


def _statement(detail: ErrorDetails) -> str:
    if detail["type"] in {"fault", "missing"}:
        return _GENERIC.get(detail["type"], detail["msg"])
    return f"{_GENERIC.get(detail['type'], detail['msg'])}, got {_shown(detail['input'])}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = ascii(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"the text {text}" if isinstance(value, str) else text


def _place(path: Path, line: int | None) -> str:
    return str(path) if line is None else f"{path}:{line}"


# ---------------------------------------------------------------------------------------------- the policy


def _policy(file: PolicyFile, content: bytes, path: Path) -> Policy:
    base = path.parent.absolute()
    entries = [(entry.match, entry.model, entry.data or file.data) for entry in file.models or ()]
    entries = entries or [("*", file.model or ModelSection(), file.data)]
    detectors = _detectors(file)
    return Policy(
        ref=PolicyRef(str(path), f"sha256:{hashlib.sha256(content).hexdigest()}"),
        entries=tuple((match, _model_plan(model, data or DataSection(), base)) for match, model, data in entries),
        detectors=detectors,
        limits=Limits(parse_duration(file.limits.time), parse_size(file.limits.memory)),
        minimum_isolation=file.limits.isolation,
        verdict_ttl=timedelta(seconds=parse_duration(file.verdict_ttl)),
        judgement=Judgement(
            file.false_block_rate, tuple(plan.name for plan in detectors if plan.required), file.max_unmeasured
        ),
        signing=_signing(file.signing, base) if file.signing else None,
        references=base / file.references if file.references else None,
    )


def _signing(section: SigningSection, base: Path) -> Signing:
    key = section.key
    if key is not None and not key.startswith("env:"):
        key = str(base / key)
    return Signing(key, tuple(base / path for path in section.trusted))


def _detectors(file: PolicyFile) -> tuple[DetectorPlan, ...]:
    if file.detectors is None:
        return tuple(DetectorPlan(spec.name, spec.required, spec.defaults()) for spec in DETECTORS)
    return tuple(
        DetectorPlan(name, section.required, section.model_dump(exclude={"required"}))
        for name, section in file.detectors.sections().items()
    )


def _model_plan(model: ModelSection, data: DataSection, base: Path) -> ModelPlan:
    spec, normalize = model.input, model.input.normalize
    return ModelPlan(
        declared=Declared(
            num_classes=model.num_classes,
            shape=None if spec.shape is None else (spec.shape[0], spec.shape[1], spec.shape[2]),
            low=float(spec.range[0]),
            high=float(spec.range[1]),
            mean=tuple(normalize.mean) if normalize else None,
            std=tuple(normalize.std) if normalize else None,
        ),
        architecture=model.architecture,
        architecture_path=base / model.architecture_path if model.architecture_path else None,
        architecture_kwargs=tuple(sorted(model.architecture_kwargs.items())),
        formats=tuple(model.formats),
        data=data.clean if data.clean is None or is_artifact(data.clean) else str(base / data.clean),
        max_images=data.max_images,
        unsafe_formats=tuple(model.unsafe_formats),
    )
