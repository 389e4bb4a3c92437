"""The summary as GitHub-flavoured Markdown: what decided, then a table of the versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.reports.rescan.rows import State, deciding, headline, notable, overall, rest, row, tally
from backdoor_gate.reports.text import markdown_code, markdown_text

if TYPE_CHECKING:
    from backdoor_gate.fleet import RescanReport, VersionResult

_SIGN = {State.CLEAR: "✅", State.DUE: "🔸", State.BLOCKS: "⛔", State.MISSING: "⚠️"}
_HEADER = ("| | Version | In use as | Verdict | Why it was due | Reason |", "|:-:|:--|:--|:--|:--|:--|")
_SHOWN_REASON = 200


def render(report: RescanReport) -> str:
    """Return the Markdown document of one run."""
    left = rest(report)
    parts = (
        f"## {_title(report)}",
        f"**{headline(report)}.**",
        _decided(report),
        "\n".join((*_HEADER, *(_table_row(result) for result in notable(report)))),
        f"Not shown: {left}." if left else "",
        _uncovered(report),
        _provenance(report),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(report: RescanReport) -> str:
    return f"{_SIGN[overall(report)]} Re-scan{' (dry run)' if report.dry_run else ''}: {tally(report)}"


def _decided(report: RescanReport) -> str:
    first = deciding(report)
    if first is None:
        return ""
    shown = row(first)
    used = f" ({markdown_text(shown.used_as)})" if shown.used_as else ""
    return f"Exit code {report.exit_code}: {markdown_code(shown.uri)}{used} is {shown.answer}."


def _table_row(result: VersionResult) -> str:
    shown = row(result)
    texts = (shown.uri, shown.used_as or "–", shown.answer, shown.why or "–", shown.said or "–")
    return f"| {' | '.join((_SIGN[shown.state], *(markdown_text(text, _SHOWN_REASON) for text in texts)))} |"


def _uncovered(report: RescanReport) -> str:
    names = ", ".join(markdown_text(name, 60) for name in report.uncovered[:20])
    more = f" and {len(report.uncovered) - 20} more" if len(report.uncovered) > 20 else ""
    return f"Not covered by the policy: {names}{more}." if names else ""


def _provenance(report: RescanReport) -> str:
    policy = f"{markdown_code(report.policy.path)} ({markdown_code(report.policy.digest)})"
    return f"Policy {policy}, detector pack {report.detector_pack}, registry {markdown_code(report.registry)}."
