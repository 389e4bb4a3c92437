"""The report as GitHub-flavoured Markdown, short enough for a step summary: the verdict and why, then the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.records import Verdict
from backdoor_gate.reports.provenance import Kind, facts
from backdoor_gate.reports.rows import Outcome, Row, headline, points, reasons, rows, subject, unmeasured
from backdoor_gate.reports.text import markdown_code, markdown_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backdoor_gate.records import AuditReport

_VERDICT_SIGN = {Verdict.PASS: "✅", Verdict.BLOCK: "⛔", Verdict.INCONCLUSIVE: "⚠️", Verdict.REFUSED: "🚫"}
_SIGN = {
    Outcome.CLEAR: "✅",
    Outcome.NOTED: "🔸",
    Outcome.BLOCKS: "⛔",
    Outcome.MISSING: "⚠️",
    Outcome.SKIPPED: "➖",
}
_HEADER = (
    "| | Detector | Anomaly index | Threshold | p | Suspects | Trigger success | Seconds |",
    "|:-:|:--|--:|--:|--:|:--|--:|--:|",
)


def render(report: AuditReport) -> str:
    """Return the Markdown document of one audit."""
    shown = rows(report)
    nothing = unmeasured(report, shown)
    parts = (
        _verdict(report),
        *((f"{markdown_text(nothing)}.",) if nothing else _evidence(report, shown)),
        _coverage(report),
        _details("Provenance", _provenance(report)),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _evidence(report: AuditReport, shown: Sequence[Row]) -> tuple[str, str]:
    return _table(shown), _details("What else the detectors said", _remarks(report, shown))


def _verdict(report: AuditReport) -> str:
    verdict = report.decision.verdict
    title = f"## {_VERDICT_SIGN[verdict]} {verdict.value}: {markdown_code(subject(report))}"
    return "\n\n".join((title, f"**{headline(report)}.**", _list(points(report)))).rstrip()


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(item)}" for item in items)


def _table(shown: Sequence[Row]) -> str:
    if not shown:
        return ""
    return "\n".join((*_HEADER, *(_table_row(row) for row in shown)))


def _table_row(row: Row) -> str:
    cells = (
        _SIGN[row.outcome],
        _name(row) if row.required else f"{_name(row)} (not required)",
        row.index,
        row.threshold,
        row.p_value,
        row.suspects,
        row.success,
        row.duration,
    )
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _remarks(report: AuditReport, shown: Sequence[Row]) -> list[str]:
    """Return what is worth a line and not said on top."""
    said = reasons(report)
    rest = (row for row in shown if row.outcome is not Outcome.CLEAR)
    return [
        f"- {_name(row)}: {markdown_text(row.reason)}"
        for row in rest
        if row.reason not in said and f"{row.name}: {row.reason}" not in said
    ]


def _plain(cell: str) -> str:
    # GitHub would read `<1e-12` as the start of a tag.
    return cell.replace("<", "&lt;")


def _name(row: Row) -> str:
    return markdown_text(row.name, 60)


def _coverage(report: AuditReport) -> str:
    covered = report.coverage
    tested = _list(covered.tested) or "- nothing"
    return f"**Tested**\n\n{tested}\n\n**Not tested**\n\n{_list(covered.not_tested)}".rstrip()


def _details(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "\n".join(("<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"))


def _provenance(report: AuditReport) -> list[str]:
    return [f"- {fact.title}: {' '.join(_SHOWN[kind](text) for kind, text in fact.parts)}" for fact in facts(report)]


_SHOWN: dict[Kind, Callable[[str], str]] = {Kind.CODE: markdown_code, Kind.WORDS: markdown_text, Kind.OURS: str}
