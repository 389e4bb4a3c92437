"""The report in a terminal: the verdict in one glance, why, the detectors, and the trigger that was recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backdoor_gate.records import Verdict
from backdoor_gate.reports.figures import by_trigger, input_range, picture, told
from backdoor_gate.reports.provenance import images, worth
from backdoor_gate.reports.rows import Outcome, Row, headline, points, rows, subject, suspects, unmeasured
from backdoor_gate.reports.terminal_picture import PictureRow
from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backdoor_gate.records import AuditReport, DetectorResult
    from backdoor_gate.reports.figures import Shown

_COLOUR = {Verdict.PASS: "green", Verdict.BLOCK: "red", Verdict.INCONCLUSIVE: "yellow", Verdict.REFUSED: "magenta"}
_STATE = {
    Outcome.CLEAR: ("clear", "green"),
    Outcome.NOTED: ("noted", "yellow"),
    Outcome.BLOCKS: ("BLOCKS", "bold red"),
    Outcome.MISSING: ("missing", "bold yellow"),
    Outcome.SKIPPED: ("skipped", "dim"),
}
_TITLES = {"trigger": "the trigger", "triggered": "an image with it", "clean": "the image without"}
_LEFT_TO_RIGHT = ("clean", "trigger", "triggered")


def verdict_view(report: AuditReport, written: Sequence[tuple[str, Path]] = ()) -> RenderableType:
    """Return what a terminal shows of one audit.

    Args:
        report: the audit.
        written: the reports that were written, as (format, path).
    """
    parts = [_headline(report), _reasons(report), _detectors(report), *_measured_on(report), *_trigger(report)]
    if written:
        parts.append(_files(written))
    return Group(*parts)


def _headline(report: AuditReport) -> RenderableType:
    verdict = report.decision.verdict
    colour = _COLOUR[verdict]
    line = Text.assemble(
        (f" {verdict.value} ", f"bold reverse {colour}"), "  ", (terminal(subject(report), 200), "bold")
    )
    return Panel(Text("\n").join((line, Text(headline(report)))), box=box.HEAVY, border_style=colour, expand=True)


def _reasons(report: AuditReport) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    for reason in points(report):
        grid.add_row("•", Text(terminal(reason)))
    return Padding(grid, (0, 1, 1, 1))


def _detectors(report: AuditReport) -> RenderableType:
    shown = rows(report)
    nothing = unmeasured(report, shown)
    return Padding(Text(terminal(nothing)), (0, 1, 1, 1)) if nothing else _table(shown)


def _table(shown: Sequence[Row]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    table.add_column("detector", overflow="fold", min_width=12)
    table.add_column("result")
    for heading in ("index", "limit", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("suspects", overflow="fold")
    table.add_column("success", justify="right")
    table.add_column("seconds", justify="right", no_wrap=True)
    for row in shown:
        word, style = _STATE[row.outcome]
        numbers = (row.index, row.threshold, row.p_value, row.suspects, row.success, row.duration)
        table.add_row(Text(terminal(row.name, 60)), Text(word, style), *numbers)
    return Padding(table, (0, 1, 1, 1)) if shown else Text("")


def _measured_on(report: AuditReport) -> list[RenderableType]:
    """Return what the images were, wrong ones are seen by how few of them are right; and what the verdict is worth."""
    if report.scan is None:
        return []
    lines = (f"Images: {images(report.scan.data)}", worth(report))
    return [Padding(Text("\n".join(lines), "dim"), (0, 1, 1, 1))]


def _trigger(report: AuditReport) -> list[RenderableType]:
    """Return the picture of the trigger that blocks, beside an image without and with it where there is one."""
    found = _blocking_trigger(report)
    if found is None:
        return []
    result, shown = found
    values = input_range(report.scan.input if report.scan else None)
    named = shown.first
    titles = {name: ": ".join(filter(None, (_TITLES[name], told(named[name])))) for name in _TITLES if name in named}
    tiles = [(title, picture(named[name], values)) for name, title in titles.items()]
    title = Text(f"Recovered trigger of {shown.way.words} ({terminal(result.name, 60)})", "bold")
    order = [titles[name] for name in _LEFT_TO_RIGHT if name in titles]
    return [Padding(Group(title, PictureRow(tiles, order)), (0, 1, 1, 1))]


def _blocking_trigger(report: AuditReport) -> tuple[DetectorResult, Shown] | None:
    for result in report.decision.detectors:
        if result.blocking:
            found = by_trigger(result.artefacts)
            for way in suspects(result):
                if way in found and "trigger" in found[way].parts:
                    return result, found[way]
    return None


def _files(written: Sequence[tuple[str, Path]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, path in written:
        grid.add_row(name, Text(terminal(str(path))))
    return Padding(grid, (0, 1))
