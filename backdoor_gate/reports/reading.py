"""Reads a JSON report back, and believes nothing of it that the format does not promise."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from backdoor_gate import strict_json
from backdoor_gate.bounded_files import read_bounded
from backdoor_gate.errors import UsageError
from backdoor_gate.records import Verdict
from backdoor_gate.reports.json_v1 import SCHEMA_VERSION, ReportV1

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 64 << 20
"""A report of 1000 classes with all its pictures is far smaller."""


def read(path: Path) -> ReportV1:
    """Return the report in a file; fields that a later release added are left out.

    Raises:
        UsageError: there is no such file, it is too large, or it is no report of this version.
    """
    return parse(read_bounded(path, MAX_BYTES, hint="name a report in JSON"), str(path))


def parse(content: bytes, where: str) -> ReportV1:
    """Return the report in these bytes.

    Raises:
        UsageError: they are no report of this version.
    """
    hint = "write one with 'backdoor-gate scan MODEL --report json=PATH'"
    try:
        document = strict_json.parse(content)
    except strict_json.JsonError as error:
        raise UsageError("not JSON", where=where, hint=hint) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        what = "not a report of the gate" if version is None else f"schema version {version!r:.40} is not known"
        raise UsageError(what, where=where, hint=hint)
    try:
        report = _adapter().validate_python(document, strict=True)
        Verdict(report["verdict"])
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UsageError(f"not a valid report: {place:.100}", where=where, hint=hint) from error
    except ValueError as error:
        raise UsageError("not a valid report: verdict", where=where, hint=hint) from error
    return report


@cache
def _adapter() -> TypeAdapter[ReportV1]:
    return TypeAdapter(ReportV1)
