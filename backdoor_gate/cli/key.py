"""`key new`: a pair to sign and to check verdicts with."""

from __future__ import annotations

from pathlib import Path

import click

from backdoor_gate.cli.exits import emit
from backdoor_gate.errors import UsageError


@click.group()
def key() -> None:
    """Make keys that sign verdicts."""


@key.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="gate.key",
    show_default=True,
    metavar="FILE",
    help="Private key; the public one gets the ending .pub.",
)
def new(output: Path) -> int:
    """Write a private key, readable by you only, and its public half; never overwrites one."""
    from backdoor_gate.publishers.attestation.keys import create_pair  # noqa: PLC0415

    if output.suffix == ".pub" or not output.name:
        raise UsageError("not a name for a private key", where=str(output), hint="choose one such as gate.key")
    try:
        made, public = create_pair(output)
    except FileExistsError as error:
        hint = "choose another name; a key in use is never overwritten"
        raise UsageError("exists", where=str(error.filename), hint=hint) from error
    emit(
        f"{output}: private key, written for you only; keep it out of the repository\n"
        f"{public}: public key {made.public.id}\n"
        f"Name both in the policy:\n"
        f"  signing: {{key: {output}, trusted: [{public}]}}"
    )
    return 0
