"""`demo`: the whole job on two small models, trained on the spot."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Train a clean and a backdoored model, scan both, and show what the gate finds.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="demo-out",
    show_default=True,
    metavar="FOLDER",
    help="Where the registry and the reports go.",
)
def demo(out: Path) -> int:
    """Train a clean and a backdoored model, register both, scan both, show what the gate says."""
    from backdoor_gate.cli.consoles import ResultConsole  # noqa: PLC0415
    from backdoor_gate.demo import run  # noqa: PLC0415

    return run(out, ResultConsole())
