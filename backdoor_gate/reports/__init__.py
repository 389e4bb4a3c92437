"""Reports of an audit, one file per format. Nothing here judges, and importing it loads no drawing or XML library."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from backdoor_gate.reports.files import make_folder, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.records import AuditReport


class Format(StrEnum):
    """What `--report FORMAT=PATH` can name. `triggers` writes pictures into a folder, the others one file each."""

    JSON = "json"
    JUNIT = "junit"
    MARKDOWN = "markdown"
    TRIGGERS = "triggers"


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
    write_bytes(path, _render(report, report_format).encode("utf-8"))


def _render(report: AuditReport, report_format: Format) -> str:
    if report_format is Format.JSON:
        from backdoor_gate.reports.json_v1 import render  # noqa: PLC0415 (loads PIL)
    elif report_format is Format.JUNIT:
        from backdoor_gate.reports.junit import render  # noqa: PLC0415 (loads junit-xml)
    else:
        from backdoor_gate.reports.markdown import render  # noqa: PLC0415
    return render(report)
