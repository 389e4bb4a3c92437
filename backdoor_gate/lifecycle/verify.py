"""Is there a signed, current PASS for exactly these bytes? No tag is trusted: all is fetched, hashed and compared."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.audit import local_data
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import NotVerifiedError, RefusedError
from backdoor_gate.lifecycle.trust import trusted_keys
from backdoor_gate.publishers.attestation import checks
from backdoor_gate.publishers.mlflow import STATEMENT, VERDICT
from backdoor_gate.sources import is_artifact
from backdoor_gate.sources.manifest import path_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backdoor_gate.lifecycle.registry import Registry
    from backdoor_gate.policy import Policy
    from backdoor_gate.publishers.attestation.keys import PublicKey
    from backdoor_gate.publishers.attestation.statement import Statement
    from backdoor_gate.records import Reference
    from backdoor_gate.sources.interface import Source

_AGAIN = "scan it again"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be verified.

    Attributes:
        policy: the policy that must have judged.
        data: clean images given on the command line; they override the policy's.
        envelope: the signed statement from a file; None takes it from the version's tags.
    """

    policy: Policy
    data: str | None = None
    envelope: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A verdict that holds: what was asked about, what was signed, and the key that signed it."""

    reference: Reference
    statement: Statement
    key: PublicKey


def verify(reference: Reference, claim: Claim, source: Source, registry: Registry) -> Verified:
    """Verify the verdict on a model whose names are resolved.

    The checks run in the order of their cost; the first that fails is the answer.

    Args:
        reference: from `source.resolve`.
        claim: the policy, and where the statement is.
        source: where the model is.
        registry: where its tags are.

    Raises:
        NotVerifiedError: there is no valid, current PASS for exactly these bytes.
        UsageError: the policy, a key or the clean data cannot be read.
        RegistryReadError: the registry or the bytes could not be read.
    """
    try:
        tags = _tags(reference, claim, registry)
        if claim.envelope is None:
            checks.check_verdict_tag(tags.get(VERDICT))
        statement, key = checks.opened(claim.envelope or tags.get(STATEMENT), trusted_keys(claim.policy))
        # A local path is a place, not a name: there the bytes alone say which model it is.
        checks.check_origin(statement, reference.uri if is_artifact(reference.uri) else None)
        _check_judge(statement, claim.policy)
        _check_subjects(statement, reference, claim, source)
        checks.check_current(statement, tags.get(VERDICT), datetime.now(UTC))
    except NotVerifiedError as error:
        raise NotVerifiedError(error.what, where=error.where or reference.uri, hint=error.hint) from error
    return Verified(reference, statement, key)


def _tags(reference: Reference, claim: Claim, registry: Registry) -> Mapping[str, str]:
    if claim.envelope is not None:
        return {}
    if reference.version is None:
        hint = "name a registry version such as models:/NAME/3, or give the statement with --statement"
        raise NotVerifiedError("no verdict: only registry versions carry one", hint=hint)
    return registry.tags(reference)


def _check_judge(statement: Statement, policy: Policy) -> None:
    if statement.policy_digest != policy.ref.digest:
        what = f"judged by another policy: {statement.policy_digest}, and {policy.ref.path} is {policy.ref.digest}"
        raise NotVerifiedError(what, hint="name the policy that judged, or scan it again")
    if _ordered(statement.detector_pack) < _ordered(PACK_VERSION):
        what = f"judged by detector pack {statement.detector_pack!a:.20}, older than this gate's {PACK_VERSION}"
        raise NotVerifiedError(what, hint=_AGAIN)


def _check_subjects(statement: Statement, reference: Reference, claim: Claim, source: Source) -> None:
    plan = claim.policy.plan_for(reference.name)
    code = code_digest(plan.architecture, plan.architecture_path) if plan.architecture else None
    if statement.architecture_digest != code:
        what = f"architecture differs: scanned with {statement.architecture_digest}, the policy's code is {code}"
        raise NotVerifiedError(what, hint=_AGAIN)
    with tempfile.TemporaryDirectory(prefix="backdoor-gate-") as folder:
        data = local_data(claim.data or plan.data, source, Path(folder) / "data")
        clean = path_digest(data) if data else None
        if statement.data_digest != clean:
            what = f"clean data differ: scanned with {statement.data_digest}, now {clean}"
            raise NotVerifiedError(what, hint="name the same data, or scan it again")
        copy = Path(folder) / "candidate"
        copy.mkdir()
        found = _digest(reference, source, copy)
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
