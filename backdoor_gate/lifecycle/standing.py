"""Does what a statement rests on still stand: the policy, the detectors, the code, the clean data and the bytes?

Shared by `verify`, which asks before a promotion, and by `rescan`, which asks of every version.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import NotVerifiedError, RefusedError
from backdoor_gate.orders import local_data
from backdoor_gate.sources.manifest import path_digest

if TYPE_CHECKING:
    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.policy import ModelPlan, Policy
    from backdoor_gate.publishers.attestation.statement import Statement
    from backdoor_gate.sources.interface import Source

_AGAIN = "scan it again"


def architecture_digest(plan: ModelPlan) -> str | None:
    """Return the digest of the code that builds the network; None where the policy names none.

    Raises:
        UsageError: there is no such code.
    """
    return code_digest(plan.architecture, plan.architecture_path) if plan.architecture else None


def data_digest(reference: str | None, source: Source) -> str | None:
    """Return the digest of the clean data at a path or an artifact URI; None for none.

    Raises:
        UsageError: there is nothing at that place.
        RegistryReadError: the artifact store is unreachable.
    """
    with tempfile.TemporaryDirectory(prefix="backdoor-gate-") as folder:
        data = local_data(reference, source, Path(folder) / "data")
        return path_digest(data) if data else None


def check_policy(statement: Statement, policy: Policy) -> None:
    """Check that this policy judged.

    Raises:
        NotVerifiedError: another did.
    """
    if statement.policy_digest != policy.ref.digest:
        what = f"judged by another policy: {statement.policy_digest}, and {policy.ref.path} is {policy.ref.digest}"
        raise NotVerifiedError(what, hint="name the policy that judged, or scan it again")


def check_entry(statement: Statement, now: str) -> None:
    """Check that the entry of the policy judged of which `now` is the digest.

    Raises:
        NotVerifiedError: another did, or the statement does not say which.
    """
    if statement.entry_digest is None:
        what = "the statement does not say which entry of the policy judged: an older gate made it"
        raise NotVerifiedError(what, hint=_AGAIN)
    if statement.entry_digest != now:
        what = "judged by another entry of the policy's 'models' than the one that matches this model"
        raise NotVerifiedError(what, hint="scan it under the name that it is asked about by")


def check_references(statement: Statement, now: str | None) -> None:
    """Check that the references were those of which `now` is the digest.

    Raises:
        NotVerifiedError: they were not.
    """
    if statement.references_digest != now:
        what = f"references differ: judged with {statement.references_digest}, the policy's file is {now}"
        raise NotVerifiedError(what, hint="put the same file back, or scan it again")


def check_pack(statement: Statement) -> None:
    """Check that the detectors were no older than this gate's.

    Raises:
        NotVerifiedError: they were.
    """
    if _ordered(statement.detector_pack) < _ordered(PACK_VERSION):
        what = f"judged by detector pack {statement.detector_pack!a:.20}, older than this gate's {PACK_VERSION}"
        raise NotVerifiedError(what, hint=_AGAIN)


def check_code(statement: Statement, now: str | None) -> None:
    """Check that the network was built by the code of which `now` is the digest.

    Raises:
        NotVerifiedError: it was not.
    """
    if statement.architecture_digest != now:
        what = f"architecture differs: scanned with {statement.architecture_digest}, the policy's code is {now}"
        raise NotVerifiedError(what, hint=_AGAIN)


def check_data(statement: Statement, now: str | None) -> None:
    """Check that the clean data were those of which `now` is the digest.

    Raises:
        NotVerifiedError: they were not.
    """
    if statement.data_digest != now:
        what = f"clean data differ: scanned with {statement.data_digest}, now {now}"
        raise NotVerifiedError(what, hint="name the same data, or scan it again")


def check_bytes(statement: Statement, reference: Reference, source: Source) -> None:
    """Fetch and hash the bytes, and check that they are those that were scanned.

    Raises:
        NotVerifiedError: they are not.
        RegistryReadError: they could not be read.
    """
    with tempfile.TemporaryDirectory(prefix="backdoor-gate-") as folder:
        found = _digest(reference, source, Path(folder))
    if statement.digest != found:
        holder = "registry has" if reference.version else "there is"
        what = f"digest mismatch: scanned {statement.digest}, {holder} {found}"
        raise NotVerifiedError(what, hint="find out who changed it, and scan it again")


def _digest(reference: Reference, source: Source, destination: Path) -> str:
    try:
        return source.fetch(reference, destination).digest
    except RefusedError as error:  # what passed was acceptable, so these are other bytes
        return f"something that is refused ({error.what})"


def _ordered(pack: str) -> tuple[int, ...]:
    """Return a pack's version so that it compares; what is no version is older than every one."""
    parts = pack.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()
