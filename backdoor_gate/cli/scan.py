"""`scan`: one model in, one verdict out. Chooses source, publisher and outputs, and hands them to the audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.auditing import (
    add_to_summary,
    audited,
    check_writable,
    discard_older,
    publisher_for,
    signer_of,
)
from backdoor_gate.cli.completion import report_targets
from backdoor_gate.cli.kinds import Target, duration, targets
from backdoor_gate.cli.options import data_option, measuring_options, policy_option, report_option
from backdoor_gate.cli.showing import chosen, show
from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.publishers.attestation.signer import Signer
    from backdoor_gate.records import AuditReport
    from backdoor_gate.reports import Format


@click.command()
@click.argument("model")
@policy_option("Policy that judges.")
@data_option()
@report_option(
    targets,
    report_targets,
    "Report to write: json, junit, markdown, html, sarif, annotations or triggers (a folder of pictures).",
)
@click.option("--statement", type=click.Path(path_type=Path), metavar="FILE", help="Signed statement to write.")
@click.option(
    "--publish/--no-publish", default=None, help="Write the verdict to the registry. [default: if there is one]"
)
@click.option(
    "--budget", callback=duration, metavar="TIME", help="Wall time such as 10m, in place of the policy's limits.time."
)
@measuring_options
@click.option("--json", is_flag=True, help="Print the report in JSON, and nothing else, to standard output.")
@click.option("--verbose", is_flag=True, help="Print the value of every class, too.")
@click.option("--quiet", is_flag=True, help="No progress, and one line in place of the report.")
def scan(  # noqa: PLR0913, PLR0917 (one argument per option)
    model: str,
    policy_file: Path,
    data: str | None,
    reports: tuple[Target[Format], ...],
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
    from backdoor_gate.orders import Request  # noqa: PLC0415
    from backdoor_gate.policy import load  # noqa: PLC0415

    view = chosen(quiet=quiet, verbose=verbose, json=json)
    publishes = _publishes(model, publish)
    inputs = [policy_file, Path(model), *([Path(data)] if data else [])]
    discard_older([target.path for target in reports if target.format != "triggers"], inputs)
    policy = load(policy_file)
    for target in reports:
        check_writable(target.path, folder=target.format == "triggers")
    if statement:
        check_writable(statement)
    signer = signer_of(policy) if publishes or statement else None
    publisher = publisher_for(tracking_uri, signer) if publishes else None
    request = Request(model, policy, data, budget, device, seed)
    written = _Written()
    outputs = [*(written.writer(target) for target in reports), _summary]
    if statement and signer:
        outputs.append(written.statement(statement, signer))
    outcome = audited(request, publisher, tracking_uri, outputs, quiet)
    return show(outcome, written.files, view)


# ---------------------------------------------------------------------------------------------- before the scan


def _publishes(model: str, wanted: bool | None) -> bool:
    from backdoor_gate.sources import is_registry  # noqa: PLC0415

    if wanted and not is_registry(model):
        hint = "publish registry versions such as models:/NAME/3, or leave --publish out"
        raise UsageError("--publish: there is no registry version to write to", hint=hint)
    return wanted is not False and is_registry(model)


# ---------------------------------------------------------------------------------------------- the scan


@dataclass(slots=True)
class _Written:
    """The reports that were written, as (format, path)."""

    files: tuple[tuple[str, Path], ...] = ()

    def writer(self, target: Target[Format]) -> Callable[[AuditReport], None]:
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


def _summary(report: AuditReport) -> None:
    """Append the report to the summary of a GitHub step, where there is one."""
    from backdoor_gate.reports.markdown import render  # noqa: PLC0415

    add_to_summary(lambda: render(report))
