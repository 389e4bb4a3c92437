"""`rescan`: a registry in, one summary out. For the nightly job that watches what `scan` let pass."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.auditing import (
    add_to_summary,
    audited,
    check_writable,
    discard_older,
    publisher_for,
    signer_of,
    tell,
)
from backdoor_gate.cli.completion import summary_targets
from backdoor_gate.cli.exits import complain, emit, printing
from backdoor_gate.cli.kinds import Target, duration, summaries
from backdoor_gate.cli.options import measuring_options, policy_option, report_option
from backdoor_gate.errors import ExitCode, OutputError, worst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from backdoor_gate.audit import Audited
    from backdoor_gate.fleet import Reason, RegisteredVersion, RescanReport, VersionResult
    from backdoor_gate.lifecycle.rescan import ScanVersion
    from backdoor_gate.policy import Policy
    from backdoor_gate.reports.rescan import Format


@click.command(short_help="Scan every registered version whose verdict is missing or no longer counts.")
@policy_option("Policy that judges, and says which models.")
@click.option(
    "--stale-after",
    callback=duration,
    metavar="TIME",
    help="Age such as 30d at which a verdict is due for a new scan. [default: when it expires]",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be scanned, and why.")
@click.option(
    "--compare-bytes",
    type=click.Choice(["all", "used"]),
    default="all",
    show_default=True,
    help="Whose bytes to fetch, to see that they are those that were scanned: of every version, or of those in use.",
)
@report_option(summaries, summary_targets, "Summary to write: json, junit or markdown.")
@measuring_options
@click.option("--json", is_flag=True, help="Print the summary in JSON, and nothing else, to standard output.")
@click.option("--quiet", is_flag=True, help="No progress, and one line in place of the summary.")
def rescan(  # noqa: PLR0913, PLR0917 (one argument per option)
    policy_file: Path,
    stale_after: float | None,
    dry_run: bool,
    compare_bytes: str,
    reports: tuple[Target[Format], ...],
    device: str,
    seed: int,
    tracking_uri: str | None,
    json: bool,
    quiet: bool,
) -> int:
    """Scan every registered version whose verdict is missing, out of date or not to be believed.

    Versions with an alias come first, and the worst of them is the exit code. A model without aliases counts with its
    newest version.
    """
    from backdoor_gate.lifecycle.due import Reviewer  # noqa: PLC0415
    from backdoor_gate.lifecycle.registry import Registry  # noqa: PLC0415
    from backdoor_gate.lifecycle.rescan import rescan as walk  # noqa: PLC0415
    from backdoor_gate.lifecycle.rescan import survey  # noqa: PLC0415
    from backdoor_gate.lifecycle.trust import trusted_keys  # noqa: PLC0415
    from backdoor_gate.policy import load  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    discard_older([target.path for target in reports], [policy_file])
    policy = load(policy_file)
    for target in reports:
        check_writable(target.path)
    scan = None if dry_run else _scan(policy, device, seed, tracking_uri, quiet)
    registry = Registry(tracking_uri)
    fleet = survey(registry, policy)
    source = source_for(fleet.versions[0].uri, tracking_uri)
    reviewer = Reviewer(policy, trusted_keys(policy), source, registry, stale_after)
    report = walk(
        fleet, reviewer, scan, fetch_all=compare_bytes == "all", on_result=_teller(len(fleet.versions), quiet)
    )
    return _finish(report, reports, json=json, quiet=quiet)


# ---------------------------------------------------------------------------------------------- the run


def _scan(policy: Policy, device: str, seed: int, tracking_uri: str | None, quiet: bool) -> ScanVersion:
    """Return what audits one version as `scan` does, and publishes what it found."""
    from backdoor_gate.orders import Request  # noqa: PLC0415

    publisher = publisher_for(tracking_uri, signer_of(policy))

    def scan(version: RegisteredVersion, reason: Reason) -> Audited:
        tell(f"scanning {version.uri}: {reason.words}", quiet)
        request = Request(version.uri, policy, device=device, seed=seed)
        return audited(request, publisher, tracking_uri, [], quiet)

    return scan


def _teller(total: int, quiet: bool) -> Callable[[VersionResult], None]:
    """Return what says of each version what became of it."""
    done = 0

    def told(result: VersionResult) -> None:
        from backdoor_gate.reports.rescan.rows import row  # noqa: PLC0415

        nonlocal done
        done += 1
        tell(f"{done}/{total} {result.version.uri}: {row(result).answer} ({result.action.value})", quiet)

    return told


# ---------------------------------------------------------------------------------------------- after the run


def _finish(report: RescanReport, reports: Sequence[Target[Format]], *, json: bool, quiet: bool) -> int:
    """Write and print the summaries; return the run's exit code, or a worse one where that failed."""
    from backdoor_gate.reports.rescan import markdown, write  # noqa: PLC0415

    codes, written = [report.exit_code], []

    def write_one(target: Target[Format]) -> None:
        write(report, target.format, target.path)
        written.append((target.format.value, target.path))

    steps: list[Callable[[], None]] = [
        *(partial(write_one, target) for target in reports),
        lambda: add_to_summary(lambda: markdown.render(report)),
        lambda: _print(report, written, json=json, quiet=quiet),
    ]
    for step in steps:
        try:
            step()
        except BrokenPipeError:
            codes.append(ExitCode.UNWRITTEN)
        except OutputError as error:
            codes.append(complain(error))
    return worst(codes)


def _print(report: RescanReport, written: Sequence[tuple[str, Path]], *, json: bool, quiet: bool) -> None:
    from backdoor_gate.cli.consoles import ResultConsole  # noqa: PLC0415
    from backdoor_gate.reports.rescan import Format, render  # noqa: PLC0415
    from backdoor_gate.reports.rescan.console import line, rescan_view  # noqa: PLC0415

    if json:
        emit(render(report, Format.JSON).removesuffix("\n"))
    elif quiet:
        emit(line(report))
    else:
        with printing():
            ResultConsole().print(rescan_view(report, written))
