"""The summary in a terminal: the run in one glance, then a table of the versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backdoor_gate.reports.rescan.rows import State, deciding, headline, notable, overall, rest, row, tally
from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backdoor_gate.fleet import RescanReport

_COLOUR = {State.CLEAR: "green", State.DUE: "yellow", State.BLOCKS: "red", State.MISSING: "yellow"}
_SHOWN_REASON = 300
_NAME_WIDTH = 36
"""Columns that a version's name has at least, so that it is not broken on a narrow terminal."""


def rescan_view(report: RescanReport, written: Sequence[tuple[str, Path]] = ()) -> RenderableType:
    """Return what a terminal shows of one run.

    Args:
        report: the run.
        written: the summaries that were written, as (format, path).
    """
    parts: list[RenderableType] = [_headline(report), _table(report)]
    if left := rest(report):
        parts.append(Padding(Text(f"not shown: {left}", "dim"), (0, 1, 1, 1)))
    parts += [Padding(Text(f"{name}  {terminal(str(path))}", "dim"), (0, 1)) for name, path in written]
    return Group(*parts)


def line(report: RescanReport) -> str:
    """Return the run in one line: what was done, the verdicts, and which version decided."""
    first = deciding(report)
    decided = f"{row(first).answer} {first.version.uri}" if first else ""
    return "; ".join(terminal(part) for part in (headline(report), tally(report), decided) if part)


def _headline(report: RescanReport) -> RenderableType:
    first = deciding(report)
    colour = _COLOUR[overall(report)]
    title = Text.assemble((f" {tally(report)} ", f"bold reverse {colour}"))
    lines = [title, Text(headline(report))]
    if first:
        used = ", ".join(first.version.used_as) or "the newest version"
        lines.append(Text(terminal(f"exit code {report.exit_code}: {first.version.uri} ({used})")))
    return Panel(Text("\n").join(lines), box=box.HEAVY, border_style=colour, expand=True)


def _table(report: RescanReport) -> RenderableType:
    shown = [row(result) for result in notable(report)]
    widest = max(len(terminal(each.uri)) for each in shown)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    table.add_column("version", overflow="fold", min_width=min(widest, _NAME_WIDTH))
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in shown:
        due = f"due: {each.why}" if each.why else ""
        why = "\n".join(terminal(text, _SHOWN_REASON) for text in (due, each.said) if text)
        name = Text.assemble(terminal(each.uri), *([(f"\n{terminal(each.used_as)}", "dim")] if each.used_as else []))
        table.add_row(name, Text(each.answer, _COLOUR[each.state]), Text(why))
    return Padding(table, (0, 1, 1, 1))
