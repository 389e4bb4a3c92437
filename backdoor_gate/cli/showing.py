"""What `scan` prints when it is done: the report for people, with or without every class, one line, or JSON."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.exits import complain, emit, printing
from backdoor_gate.errors import ExitCode, OutputError, worst

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backdoor_gate.audit import Audited
    from backdoor_gate.records import AuditReport


class View(Enum):
    """What goes to standard output."""

    REPORT = "report"
    CLASSES = "report with every class"
    LINE = "one line"
    JSON = "the report in JSON, and nothing else"


def chosen(*, quiet: bool, verbose: bool, json: bool) -> View:
    """Return the view that the options ask for.

    Raises:
        click.UsageError: they contradict each other.
    """
    if verbose and (quiet or json):
        raise click.UsageError(f"--verbose adds to the report that --{'json' if json else 'quiet'} leaves out")
    if json:
        return View.JSON
    return View.LINE if quiet else View.CLASSES if verbose else View.REPORT


def show(outcome: Audited, written: Sequence[tuple[str, Path]], view: View) -> int:
    """Print the report, then what could not be written, and return the worst of the exit codes.

    Args:
        outcome: of the audit.
        written: the reports that were written, as (format, path).
        view: what to print.
    """
    codes: list[int] = [outcome.exit_code]
    try:
        _print(outcome.report, written, view)
    except BrokenPipeError:
        codes.append(ExitCode.UNWRITTEN)
    except OutputError as error:
        codes.append(complain(error))
    codes += [complain(fault) for fault in outcome.faults]
    return worst(codes)


def _print(report: AuditReport, written: Sequence[tuple[str, Path]], view: View) -> None:
    if view is View.LINE:
        emit(_line(report))
    elif view is View.JSON:
        from backdoor_gate.reports import Format, render  # noqa: PLC0415

        emit(render(report, Format.JSON).removesuffix("\n"))
    else:
        _print_report(report, written, classes=view is View.CLASSES)


def _line(report: AuditReport) -> str:
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    uri = report.candidate.uri if report.candidate else report.requested
    reasons = (reason.removeprefix(f"{uri}: ") for reason in report.decision.reasons[:1])
    parts = (f"{report.decision.verdict.value} {uri}", *reasons)
    return ": ".join(terminal(part) for part in parts)


def _print_report(report: AuditReport, written: Sequence[tuple[str, Path]], *, classes: bool) -> None:
    from backdoor_gate.cli.consoles import ResultConsole  # noqa: PLC0415
    from backdoor_gate.reports.class_table import class_view  # noqa: PLC0415
    from backdoor_gate.reports.console import verdict_view  # noqa: PLC0415

    with printing():
        console = ResultConsole()
        if classes:
            console.print(class_view(report))
        console.print(verdict_view(report, written))
