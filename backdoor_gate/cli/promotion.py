"""`verify` and `promote`: what a pipeline asks before, and does at, the step to production."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backdoor_gate.bounded_files import read_bounded
from backdoor_gate.cli.exits import emit
from backdoor_gate.cli.options import data_option, policy_option, tracking_option
from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.lifecycle.verify import Claim, Verified

_MAX_FILE = 1 << 16


def _common(command: Callable[..., int]) -> Callable[..., int]:
    """Add what both commands take."""
    options: list[Callable[[Any], Any]] = [
        click.argument("model"),
        policy_option("Policy that must have judged."),
        data_option("Clean images of the scan, where they were not the policy's."),
        tracking_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="Check that MODEL has a signed, current PASS for exactly its bytes.")
@_common
@click.option(
    "--statement", type=click.Path(path_type=Path), metavar="FILE", help="Signed statement, in place of the tags."
)
def verify(model: str, policy_file: Path, data: str | None, tracking_uri: str | None, statement: Path | None) -> int:
    """Check that MODEL has a signed, current PASS for exactly the bytes that are there now.

    MODEL is what scan takes. Whatever is not to be believed ends with 6 and its reason.
    """
    from backdoor_gate.lifecycle.registry import Registry  # noqa: PLC0415
    from backdoor_gate.lifecycle.verify import verify as check  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    claim = _claim(policy_file, data, _read(statement) if statement else None)
    source = source_for(model, tracking_uri)
    verified = check(source.resolve(model), claim, source, Registry(tracking_uri))
    emit(_said(verified, "verified"))
    return 0


@click.command()
@_common
@click.option("--alias", required=True, metavar="NAME", help="Alias to set, such as champion.")
def promote(model: str, policy_file: Path, data: str | None, tracking_uri: str | None, alias: str) -> int:
    """Verify MODEL, let an alias point to its version number, and verify again.

    MODEL is models:/NAME/VERSION or models:/NAME@ALIAS. Whatever goes wrong takes the alias back.
    """
    from backdoor_gate.lifecycle.promote import promote as move  # noqa: PLC0415
    from backdoor_gate.lifecycle.registry import Registry, check_alias  # noqa: PLC0415
    from backdoor_gate.sources import is_registry, source_for  # noqa: PLC0415

    check_alias(alias)
    if not is_registry(model):
        hint = "name a version such as models:/NAME/3"
        raise UsageError("only registry versions can be promoted", where=model, hint=hint)
    claim = _claim(policy_file, data, None)
    source = source_for(model, tracking_uri)
    verified = move(source.resolve(model), alias, claim, source, Registry(tracking_uri))
    emit(_said(verified, f"verified, and now @{alias}"))
    return 0


def _claim(policy_file: Path, data: str | None, envelope: str | None) -> Claim:
    from backdoor_gate.lifecycle.verify import Claim  # noqa: PLC0415
    from backdoor_gate.policy import load  # noqa: PLC0415

    return Claim(load(policy_file), data, envelope)


def _read(path: Path) -> str:
    content = read_bounded(path, _MAX_FILE, hint="write one with 'backdoor-gate scan --statement FILE'")
    return content.decode("ascii", "replace").rstrip("\n")


def _said(verified: Verified, what: str) -> str:
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    statement = verified.statement
    rows = (
        ("verdict", f"{statement.verdict} of {statement.scanned_at.isoformat()}, scan {statement.scan_id}"),
        ("valid until", statement.expires_at.isoformat()),
        ("digest", statement.digest),
        ("signed by", f"{verified.key.id} ({verified.key.origin})"),
    )
    lines = [f"{verified.reference.uri}: {what}", *(f"  {label:<11} {text}" for label, text in rows)]
    return "\n".join(terminal(line) for line in lines)
