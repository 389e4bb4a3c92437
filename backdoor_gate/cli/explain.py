"""`explain`: a JSON report in plain words."""

from __future__ import annotations

from pathlib import Path

import click

from backdoor_gate.cli.exits import emit


@click.command()
@click.argument("report", type=click.Path(path_type=Path))
def explain(report: Path) -> int:
    """Tell in plain words what a JSON report says: why, how sure, and what to do.

    REPORT is a file that `scan` wrote with --report json=PATH or --json. The exit code is zero if it could be read.
    """
    from backdoor_gate.reports.explain import explain as explained  # noqa: PLC0415
    from backdoor_gate.reports.reading import read  # noqa: PLC0415

    emit(explained(read(report)))
    return 0
