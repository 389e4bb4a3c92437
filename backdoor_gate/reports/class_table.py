"""The value of every class under every detector, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from backdoor_gate.reports.rows import ABSENT
from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from backdoor_gate.records import AuditReport, DetectorResult


def class_view(report: AuditReport) -> RenderableType:
    """Return a table with a row for each class and a column for each detector that measured classes.

    A cell is the value in the detector's unit, with the success of the trigger in brackets where it was replayed.
    """
    results = [result for result in report.decision.detectors if result.per_class]
    if not results:
        return Text("no class was measured", "dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    table.add_column("class", justify="right")
    for result in results:
        heading = f"{terminal(result.name, 60)}\n{terminal(result.unit, 60)}"
        table.add_column(Text(heading), justify="right", overflow="fold")
    for class_index in range(max(len(result.per_class) for result in results)):
        table.add_row(str(class_index), *(_cell(result, class_index) for result in results))
    return table


def _cell(result: DetectorResult, class_index: int) -> Text:
    value = result.per_class[class_index] if class_index < len(result.per_class) else None
    if value is None:
        return Text(ABSENT, "dim")
    share = result.success[class_index] if result.success and class_index < len(result.success) else None
    replayed = "" if share is None else f" ({share:.0%})"
    return Text(f"{value:.4g}{replayed}", "bold red" if class_index in result.suspect_classes else "")
