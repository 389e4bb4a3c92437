"""Model references by their form: `models:/name/3`, `models:/name@alias`, `models:/m-<id>`, `runs:/<id>/path`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from backdoor_gate.errors import UsageError
from backdoor_gate.sources.manifest import shown

_FORMS = "write models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/ID/PATH"
_FIXED = "name a version (models:/NAME/3) or an alias (models:/NAME@champion)"
_MODELS = re.compile(r"models:/(?://)?(?P<rest>[^/].*)", re.DOTALL)
_RUNS = re.compile(r"runs:/(?://)?(?P<run>[0-9A-Za-z_-]+)/(?P<path>.+)", re.DOTALL)
_VERSION = re.compile(r"[0-9]{1,9}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True, slots=True)
class ByVersion:
    """`models:/name/3`."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ByAlias:
    """`models:/name@alias`."""

    name: str
    alias: str


@dataclass(frozen=True, slots=True)
class ById:
    """`models:/m-<id>`: a logged model, which need not be registered."""

    model_id: str


@dataclass(frozen=True, slots=True)
class InRun:
    """`runs:/<id>/path`: an artifact of a run, or a model that the run logged under that name."""

    run_id: str
    path: str


Parsed = ByVersion | ByAlias | ById | InRun


def is_artifact(reference: str) -> bool:
    """Whether a reference is a URI (of MLflow or an artifact store) rather than a local path."""
    return _SCHEME.match(reference) is not None


def data_place(given: str) -> str:
    """Return where a user says that clean images are: an artifact URI as it is, a path as an absolute one.

    Raises:
        UsageError: nothing is named; a path of no parts would be the working folder.
    """
    if not given:
        raise UsageError("is empty", where="data", hint="name clean images, or leave it out for the policy's")
    return given if is_artifact(given) else str(Path(given).absolute())


def is_registry(reference: str) -> bool:
    """Whether a reference names a registered version (`models:/name/3`, `models:/name@alias`): only that carries tags.

    False for `models:/m-<id>`, `runs:/…`, local paths, and whatever is not well-formed.
    """
    try:
        return isinstance(parse(reference), ByVersion | ByAlias)
    except UsageError:
        return False


def parse(reference: str) -> Parsed:
    """Take a `models:` or `runs:` reference apart.

    Raises:
        UsageError: it has another form, or names no fixed version (`latest`, a stage).
    """
    if match := _RUNS.fullmatch(reference):
        return InRun(match["run"], _inner_path(match["path"], reference))
    if match := _MODELS.fullmatch(reference):
        return _parse_model(match["rest"], reference)
    raise UsageError("not a model reference", where=shown(reference), hint=_FORMS)


def _parse_model(rest: str, reference: str) -> Parsed:
    name, slash, suffix = rest.partition("/")
    if not slash:
        name, at, alias = rest.rpartition("@")
        if at and name and alias:
            return ByAlias(name, alias)
        if not at and re.fullmatch(r"m-[0-9A-Za-z]+", rest):
            return ById(rest)
        raise UsageError("names no version", where=shown(reference), hint=_FIXED)
    if not _VERSION.fullmatch(suffix):
        raise UsageError("is not a version number", where=shown(reference), hint=_FIXED)
    return ByVersion(name, str(int(suffix)))


def _inner_path(path: str, reference: str) -> str:
    parts = path.rstrip("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise UsageError("path has an empty or relative part", where=shown(reference), hint=_FORMS)
    return "/".join(parts)
