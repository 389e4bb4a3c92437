"""Summaries of a run over a registry, one file per format. Importing this loads no XML library."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from backdoor_gate.reports.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.fleet import RescanReport


class Format(StrEnum):
    """What `rescan --report FORMAT=PATH` can name."""

    JSON = "json"
    JUNIT = "junit"
    MARKDOWN = "markdown"


_MODULES = {Format.JSON: "json_v1"}
"""Where a format's `render` is, if not in the module of its name."""


def write(report: RescanReport, report_format: Format, path: Path) -> None:
    """Write one summary, whole or not at all; folders on the way are made.

    Raises:
        OutputError: the disk is full or read-only, or something else stands at the path.
    """
    write_bytes(path, render(report, report_format).encode("utf-8"))


def render(report: RescanReport, report_format: Format) -> str:
    """Return one summary as text; every untrusted string in it has passed `reports.text`."""
    module = import_module(f"{__name__}.{_MODULES.get(report_format, report_format.value)}")
    text: str = module.render(report)
    return text
