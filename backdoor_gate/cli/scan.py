"""`scan`: one model in, one verdict out. Chooses source, publisher and outputs, and hands them to the audit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.kinds import Target, duration, targets
from backdoor_gate.cli.showing import chosen, show
from backdoor_gate.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.audit import Outcome, Request
    from backdoor_gate.policy import Policy
    from backdoor_gate.publishers.attestation.signer import Signer
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
    help="Report to write: json, junit, markdown, html, sarif, annotations or triggers (a folder of pictures). May be "
    "given several times.",
)
@click.option("--statement", type=click.Path(path_type=Path), metavar="FILE", help="Signed statement to write.")
@click.option(
    "--publish/--no-publish", default=None, help="Write the verdict to the registry. [default: if there is one]"
)
@click.option(
    "--budget", callback=duration, metavar="TIME", help="Wall time such as 10m, in place of the policy's limits.time."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N")
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True, metavar="URI", help="MLflow store.")
@click.option("--json", is_flag=True, help="Print the report in JSON, and nothing else, to standard output.")
@click.option("--verbose", is_flag=True, help="Print the value of every class, too.")
@click.option("--quiet", is_flag=True, help="No progress, and one line in place of the report.")
def scan(  # noqa: PLR0913, PLR0917 (one argument per option)
    model: str,
    policy_file: Path,
    data: str | None,
    reports: tuple[Target, ...],
    statement: Path | None,
    publish: bool | None,
    budget: float | None,
    device: str,
    seed: int,
    tracking_uri: str | None,
    json: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Scan MODEL for backdoors and judge it by a policy.

    MODEL is models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID, runs:/ID/PATH, or a local folder or weights file.
    """
    from backdoor_gate.audit import Request  # noqa: PLC0415
    from backdoor_gate.policy import load  # noqa: PLC0415
    from backdoor_gate.sources import is_artifact  # noqa: PLC0415

    view = chosen(quiet=quiet, verbose=verbose, json=json)
    publishes = _publishes(model, publish)
    policy = load(policy_file)
    for path in (*(target.path for target in reports), *([statement] if statement else [])):
        _check_writable(path)
    signer = _signer(policy) if publishes or statement else None
    publisher = _publisher(tracking_uri, signer) if publishes else None
    data = data if data is None or is_artifact(data) else str(Path(data).absolute())
    request = Request(model, policy, data, budget, device, seed)
    written = _Written()
    outputs = [written.writer(target) for target in reports] + _summary()
    if statement and signer:
        outputs.append(written.statement(statement, signer))
    outcome = _audited(request, publisher, tracking_uri, outputs, quiet)
    return show(outcome, written.files, view)


# ---------------------------------------------------------------------------------------------- before the scan


def _publishes(model: str, wanted: bool | None) -> bool:
    from backdoor_gate.sources import is_registry  # noqa: PLC0415

    if wanted and not is_registry(model):
        hint = "publish registry versions such as models:/NAME/3, or leave --publish out"
        raise UsageError("--publish: there is no registry version to write to", hint=hint)
    return wanted is not False and is_registry(model)


def _signer(policy: Policy) -> Signer:
    from backdoor_gate.lifecycle.trust import signing_key  # noqa: PLC0415
    from backdoor_gate.publishers.attestation.signer import Signer  # noqa: PLC0415

    return Signer(signing_key(policy))


def _publisher(tracking_uri: str | None, signer: Signer | None) -> Publisher:
    from backdoor_gate.publishers.mlflow import MlflowPublisher  # noqa: PLC0415

    return MlflowPublisher(tracking_uri, sign=signer)


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

    def statement(self, path: Path, sign: Signer) -> Callable[[AuditReport], None]:
        """Return what writes the signed statement, or removes an older one where there is nothing to sign."""

        def write(report: AuditReport) -> None:
            from backdoor_gate.reports.files import unwritable, write_bytes  # noqa: PLC0415

            if envelope := sign(report):
                write_bytes(path, f"{envelope}\n".encode())
                self.files += (("statement", path),)
                return
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error

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
