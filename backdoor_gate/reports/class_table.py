"""The value of every class under every detector, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from backdoor_gate.reports.rows import ABSENT, Way, success_of, suspects
from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from backdoor_gate.records import AuditReport, DetectorResult


def class_view(report: AuditReport) -> RenderableType:
    """Return a table with a row for each class and a column for each detector that measured classes.

    A cell is the value in the detector's unit, with the success of the trigger in brackets where it was replayed. Of
    a detector that looks from class to class it is the weakest trigger to the class, with the pair in front.
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
    share = success_of(result, Way(None, class_index))
    replayed = "" if share is None else f" ({share:.0%})"
    source = next((p.source for p in result.pairs if p.target == class_index and p.strength == value), None)
    way = "" if source is None else f"{Way(source, class_index)} "
    suspect = Way(source, class_index) in suspects(result)
    return Text(f"{way}{value:.4g}{replayed}", "bold red" if suspect else "")
