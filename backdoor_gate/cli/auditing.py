"""What the commands that audit share: signer, publisher, checks of the outputs, an audit that shows how far it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.audit import Outcome
    from backdoor_gate.orders import Request
    from backdoor_gate.policy import Policy
    from backdoor_gate.publishers.attestation.signer import Signer
    from backdoor_gate.publishers.interface import Publisher
    from backdoor_gate.records import AuditReport

SUMMARY = "GITHUB_STEP_SUMMARY"
"""Environment variable: a file that the Markdown report is appended to."""


def signer_of(policy: Policy) -> Signer:
    """Return what signs the verdicts of a policy.

    Raises:
        UsageError: its key cannot be had or be made, or it does not trust it.
    """
    from backdoor_gate.lifecycle.trust import signing_key  # noqa: PLC0415
    from backdoor_gate.publishers.attestation.signer import Signer  # noqa: PLC0415

    try:
        return Signer(signing_key(policy))
    except OutputError as error:  # nothing was judged yet
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


def publisher_for(tracking_uri: str | None, signer: Signer | None) -> Publisher:
    """Return what writes verdicts to the registry."""
    from backdoor_gate.publishers.mlflow import MlflowPublisher  # noqa: PLC0415

    return MlflowPublisher(tracking_uri, sign=signer)


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Find out before a long scan, as far as that is possible, that a report cannot be written after it.

    Args:
        path: of the report.
        folder: whether it is a folder of files.

    Raises:
        UsageError: it cannot; nothing was judged, so that is no verdict that could not be written.
    """
    from backdoor_gate.reports.files import check_file  # noqa: PLC0415

    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.lexists(folder))
    if not os.access(existing, os.W_OK):
        raise UsageError("no permission to write there", where=str(path), hint="name a folder that can be written")
    if existing == path.absolute() and not folder:
        try:
            check_file(path)
        except OutputError as error:
            raise UsageError(error.what, where=error.where, hint=error.hint) from error
    elif not existing.is_dir():
        raise UsageError(f"{existing} is no folder", where=str(path), hint="name another path")


def add_to_summary(render: Callable[[], str]) -> None:
    """Append to the summary of a GitHub step, where there is one.

    Args:
        render: returns Markdown.

    Raises:
        OutputError: it could not be written.
    """
    path = os.environ.get(SUMMARY)
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(render() + "\n")
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", where=f"{SUMMARY} ({path})") from error


def tell(text: str, quiet: bool) -> None:
    """Say on standard error how far a run over several models is."""
    from backdoor_gate.cli.consoles import ProgressConsole  # noqa: PLC0415
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    ProgressConsole(quiet=quiet).print(terminal(text), markup=False, highlight=False, soft_wrap=True)


def audited(
    request: Request,
    publisher: Publisher | None,
    tracking_uri: str | None,
    outputs: list[Callable[[AuditReport], None]],
    quiet: bool,
) -> Outcome:
    """Audit one model while showing how far it is; raises as `audit` does."""
    from backdoor_gate.audit import audit  # noqa: PLC0415
    from backdoor_gate.cli.consoles import ProgressConsole  # noqa: PLC0415
    from backdoor_gate.reports.progress import ScanProgress  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    source = source_for(request.reference, tracking_uri)
    names = [plan.name for plan in request.policy.detectors]
    with ScanProgress(ProgressConsole(quiet=quiet), names) as progress:
        return audit(request, source, publisher=publisher, outputs=outputs, on_progress=progress.update)
