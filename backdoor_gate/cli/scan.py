"""`scan`: one model in, one verdict out. Chooses source, publisher and outputs, and hands them to the audit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.exits import UNWRITTEN, complain, emit, printing
from backdoor_gate.cli.kinds import Target, duration, targets
from backdoor_gate.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.audit import Outcome, Request
    from backdoor_gate.publishers.interface import Publisher
    from backdoor_gate.records import AuditReport

SUMMARY = "GITHUB_STEP_SUMMARY"
"""Environment variable: a file that the Markdown report is appended to."""


@click.command()
@click.argument("model")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Policy that judges.",
)
@click.option(
    "--data", metavar="PATH", help="Clean images, in place of the policy's: npz, folder tree or artifact URI."
)
@click.option(
    "--report",
    "reports",
    metavar="FORMAT=PATH",
    multiple=True,
    callback=targets,
    help="Report to write: json, junit, markdown or triggers (a folder of pictures). May be given several times.",
)
@click.option(
    "--publish/--no-publish", default=None, help="Write the verdict to the registry. [default: if there is one]"
)
@click.option(
    "--budget", callback=duration, metavar="TIME", help="Wall time such as 10m, in place of the policy's limits.time."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N")
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True, metavar="URI", help="MLflow store.")
@click.option("--quiet", is_flag=True, help="No progress, and one line in place of the report.")
def scan(  # noqa: PLR0913, PLR0917 (one argument per option)
    model: str,
    policy_file: Path,
    data: str | None,
    reports: tuple[Target, ...],
    publish: bool | None,
    budget: float | None,
    device: str,
    seed: int,
    tracking_uri: str | None,
    quiet: bool,
) -> int:
    """Scan MODEL for backdoors and judge it by a policy.

    MODEL is models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID, runs:/ID/PATH, or a local folder or weights file.
    """
    from backdoor_gate.audit import Request  # noqa: PLC0415
    from backdoor_gate.policy import load  # noqa: PLC0415
    from backdoor_gate.sources import is_artifact  # noqa: PLC0415

    publisher = _publisher(model, publish, tracking_uri)
    policy = load(policy_file)
    for target in reports:
        _check_writable(target.path)
    data = data if data is None or is_artifact(data) else str(Path(data).absolute())
    request = Request(model, policy, data, budget, device, seed)
    written = _Written()
    outputs = [written.writer(target) for target in reports] + _summary()
    outcome = _audited(request, publisher, tracking_uri, outputs, quiet)
    return _shown(outcome, written, quiet)


# ---------------------------------------------------------------------------------------------- before the scan


def _publisher(model: str, publish: bool | None, tracking_uri: str | None) -> Publisher | None:
    from backdoor_gate.sources import is_registry  # noqa: PLC0415

    if publish and not is_registry(model):
        hint = "publish registry versions such as models:/NAME/3, or leave --publish out"
        raise UsageError("--publish: there is no registry version to write to", hint=hint)
    if publish is False or not is_registry(model):
        return None
    from backdoor_gate.publishers.mlflow import MlflowPublisher  # noqa: PLC0415

    return MlflowPublisher(tracking_uri)


def _check_writable(path: Path) -> None:
    """Find out before a long scan, as far as that is possible, that a report cannot be written after it."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.lexists(folder))
    if not os.access(existing, os.W_OK):
        raise OutputError("no permission to write there", where=str(path), hint="name a folder that can be written")
    if existing != path.absolute() and not existing.is_dir():
        raise OutputError(f"{existing} is no folder", where=str(path), hint="name another path")


# ---------------------------------------------------------------------------------------------- the scan


@dataclass(slots=True)
class _Written:
    """The reports that were written, as (format, path)."""

    files: tuple[tuple[str, Path], ...] = ()

    def writer(self, target: Target) -> Callable[[AuditReport], None]:
        """Return what writes one report and remembers that it did."""

        def write(report: AuditReport) -> None:
            from backdoor_gate import reports  # noqa: PLC0415

            reports.write(report, target.format, target.path)
            self.files += ((target.format.value, target.path),)

        return write


def _summary() -> list[Callable[[AuditReport], None]]:
    """Return what appends to the summary of a GitHub step, where there is one."""
    path = os.environ.get(SUMMARY)

    def append(report: AuditReport) -> None:
        from backdoor_gate.reports.markdown import render  # noqa: PLC0415

        try:
            with Path(str(path)).open("a", encoding="utf-8") as file:
                file.write(render(report) + "\n")
        except OSError as error:
            raise OutputError(f"cannot be written: {error.strerror}", where=f"{SUMMARY} ({path})") from error

    return [append] if path else []


def _audited(
    request: Request,
    publisher: Publisher | None,
    tracking_uri: str | None,
    outputs: list[Callable[[AuditReport], None]],
    quiet: bool,
) -> Outcome:
    from backdoor_gate.audit import audit  # noqa: PLC0415
    from backdoor_gate.cli.consoles import ProgressConsole  # noqa: PLC0415
    from backdoor_gate.reports.progress import ScanProgress  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    source = source_for(request.reference, tracking_uri)
    names = [plan.name for plan in request.policy.detectors]
    with ScanProgress(ProgressConsole(quiet=quiet), names) as progress:
        return audit(request, source, publisher=publisher, outputs=outputs, on_progress=progress.update)


# ---------------------------------------------------------------------------------------------- after the scan


def _shown(outcome: Outcome, written: _Written, quiet: bool) -> int:
    """Print the report, then what could not be written, and return the worst of the exit codes."""
    from backdoor_gate.audit import worst  # noqa: PLC0415

    codes = [outcome.exit_code]
    try:
        if quiet:
            emit(_line(outcome.report))
        else:
            _print(outcome.report, written)
    except BrokenPipeError:
        codes.append(UNWRITTEN)
    except OutputError as error:
        codes.append(complain(error))
    codes += [complain(fault) for fault in outcome.faults]
    return worst(codes)


def _line(report: AuditReport) -> str:
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    uri = report.candidate.uri if report.candidate else report.requested
    parts = (f"{report.decision.verdict.value} {uri}", *report.decision.reasons[:1])
    return ": ".join(terminal(part) for part in parts)


def _print(report: AuditReport, written: _Written) -> None:
    from backdoor_gate.cli.consoles import ResultConsole  # noqa: PLC0415
    from backdoor_gate.reports.console import verdict_view  # noqa: PLC0415

    with printing():
        ResultConsole().print(verdict_view(report, written.files))
