"""Reports of an audit, one file per format. Nothing here judges, and importing it loads no drawing or XML library."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from backdoor_gate.reports.files import make_folder, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.records import AuditReport
    from backdoor_gate.reports.interface import Renderer


class Format(StrEnum):
    """What `--report FORMAT=PATH` can name. `triggers` writes pictures into a folder, the others one file each."""

    JSON = "json"
    JUNIT = "junit"
    MARKDOWN = "markdown"
    HTML = "html"
    SARIF = "sarif"
    ANNOTATIONS = "annotations"
    TRIGGERS = "triggers"


_MODULES = {Format.JSON: "json_v1", Format.ANNOTATIONS: "github_annotations"}
"""Where a format's `render` is, if not in the module of its name."""


def write(report: AuditReport, report_format: Format, path: Path) -> None:
    """Write one report, each file whole or not at all; folders on the way are made.

    Raises:
        OutputError: the disk is full or read-only, or something else stands at the path.
    """
    if report_format is Format.TRIGGERS:
        from backdoor_gate.reports.figures import save_triggers  # noqa: PLC0415 (loads PIL)

        make_folder(path)
        save_triggers(report, path)
        return
    write_bytes(path, render(report, report_format).encode("utf-8"))


def render(report: AuditReport, report_format: Format) -> str:
    """Return one report as text.

    Args:
        report: the audit.
        report_format: any but `triggers`, which is no text.
    """
    # Loaded only where it is written: most formats need a library.
    module = _MODULES.get(report_format, report_format.value)
    renderer: Renderer = import_module(f"{__name__}.{module}").render
    return renderer(report)
