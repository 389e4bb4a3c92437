"""What the commands that audit share: signer, publisher, checks of the outputs, an audit that shows how far it is."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backdoor_gate.audit import Audited
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

    with _before_a_verdict():
        return Signer(signing_key(policy))


def publisher_for(tracking_uri: str | None, signer: Signer | None) -> Publisher:
    """Return what writes verdicts to the registry."""
    from backdoor_gate.publishers.mlflow import MlflowPublisher  # noqa: PLC0415

    return MlflowPublisher(tracking_uri, sign=signer)


def discard_older(reports: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Remove what an earlier run wrote, so that it is not taken for this one's, should this one end without reports.

    Only files go, and links to files, whose targets stay: no folder, no pipe, and nothing that is not there.

    Args:
        reports: files that this run will write.
        inputs: what it reads.

    Raises:
        UsageError: a report would replace an input, and nothing was removed; or an older one cannot be removed.
    """
    older, read = [path for path in reports if _is_file(path)], list(inputs)
    for path in older:
        if any(_is_same(path, each) for each in read):
            raise UsageError("a report would replace what is read", where=str(path), hint="name another file")
    for path in older:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            what = f"an older report cannot be removed: {error.strerror}"
            raise UsageError(what, where=str(path), hint="remove it, or name another file") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # `check_writable` says what is wrong with it
        return False


def _is_same(path: Path, read: Path) -> bool:
    try:
        return path.samefile(read)
    except (OSError, ValueError):  # what is read is a URI, or not there
        return False


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
        with _before_a_verdict():
            check_file(path)
    elif not existing.is_dir():
        raise UsageError(f"{existing} is no folder", where=str(path), hint="name another path")


@contextmanager
def _before_a_verdict() -> Iterator[None]:
    """Turn an output that fails into a wrong use: nothing was judged, so that there is no verdict that stands."""
    try:
        yield
    except OutputError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


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
) -> Audited:
    """Audit one model while showing how far it is; raises as `audit` does."""
    from backdoor_gate.audit import audit  # noqa: PLC0415
    from backdoor_gate.cli.consoles import ProgressConsole  # noqa: PLC0415
    from backdoor_gate.reports.progress import ScanProgress  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    source = source_for(request.reference, tracking_uri)
    names = [plan.name for plan in request.policy.detectors]
    with ScanProgress(ProgressConsole(quiet=quiet), names) as progress:
        return audit(request, source, publisher=publisher, outputs=outputs, on_progress=progress.update)
