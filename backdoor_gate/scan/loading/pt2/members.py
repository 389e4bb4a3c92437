"""The members that `torch.export.save` writes, and no others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backdoor_gate import strict_json
from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.naming import shown

if TYPE_CHECKING:
    from backdoor_gate.scan.loading.archive import Archive

MAX_JSON_BYTES = 32 << 20
SCHEMA_MAJOR = 8
"""Major version of the serialised program, of torch 2.9 to 2.13 at least."""
_FIXED = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
_UNREAD = frozenset({".data/version", ".data/serialization_id", ".format_version", ".storage_alignment"})
_MODEL = re.compile(r"models/([^/]+)\.json")
_RECORD = re.compile(r"data/(?:weights/weight|constants/tensor)_\d+")


def refused(rule: str, where: str) -> RefusedError:
    """Return the error for an exported program that breaks `rule`."""
    return RefusedError(f"pt2: {rule}", where=where, hint="export it again with torch.export, or upload safetensors")


@dataclass(frozen=True, slots=True)
class Package:
    """An exported program, with its parts still as they are written.

    Attributes:
        archive: the checked zip.
        root: folder of all members, with a slash.
        program: the parsed `models/<name>.json`.
        weights: the parsed weights configuration.
        constants: the parsed constants configuration.
        samples: the example inputs, as they are written; empty where there are none.
        where: the file, for messages.
    """

    archive: Archive
    root: str
    program: dict[str, Any]
    weights: dict[str, Any]
    constants: dict[str, Any]
    samples: bytes
    where: str


def open_package(archive: Archive, where: str) -> Package:
    """Check which members there are, and parse the three that describe the program.

    Raises:
        RefusedError: a member is missing or unexpected, a version is unknown, or a description is not strict JSON.
    """
    root = archive.names[0].partition("/")[0] + "/"
    names = {name.removeprefix(root) for name in archive.names}
    models = [match[1] for name in names if (match := _MODEL.fullmatch(name))]
    if len(models) != 1:
        raise refused(f"{len(models)} programs in one archive", where)
    described = {
        "program": f"models/{models[0]}.json",
        "weights": f"data/weights/{models[0]}_weights_config.json",
        "constants": f"data/constants/{models[0]}_constants_config.json",
    }
    samples = f"data/sample_inputs/{models[0]}.pt"
    known = {*_FIXED, *_UNREAD, *described.values(), samples}
    for name in sorted(names - known):
        if not _RECORD.fullmatch(name):
            raise refused(f"archive member not allowed: {shown(name)}", where)
    missing = {*_FIXED, *described.values()} - names
    if missing:
        raise refused(f"archive member missing: {shown(min(missing))}", where)
    for name, content in _FIXED.items():
        if archive.read(root + name).strip() != content:
            raise refused(f"{name} is not {content.decode()}", where)
    parsed = {key: _json(archive, root + name, where) for key, name in described.items()}
    return Package(
        archive, root, **parsed, samples=archive.read(root + samples) if samples in names else b"", where=where
    )


def _json(archive: Archive, name: str, where: str) -> dict[str, Any]:
    label = name.partition("/")[2]
    if archive.size(name) > MAX_JSON_BYTES:
        raise refused(f"{shown(label)} larger than {MAX_JSON_BYTES >> 20} MiB", where)
    try:
        value = strict_json.parse(archive.read(name))
    except strict_json.JsonError as error:
        raise refused(f"{shown(label)}: {shown(str(error))}", where) from error
    if not isinstance(value, dict):
        raise refused(f"{shown(label)} is not a JSON object", where)
    return value
