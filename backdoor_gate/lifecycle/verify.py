"""Is there a signed, current PASS for exactly these bytes? No tag is trusted: all is fetched, hashed and compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backdoor_gate.errors import NotVerifiedError
from backdoor_gate.lifecycle import standing
from backdoor_gate.lifecycle.registry import Held
from backdoor_gate.lifecycle.trust import trusted_keys
from backdoor_gate.policy.references import references_digest
from backdoor_gate.publishers.attestation import checks
from backdoor_gate.publishers.mlflow import STATEMENT, VERDICT
from backdoor_gate.sources import is_artifact

if TYPE_CHECKING:
    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.lifecycle.registry import Registry
    from backdoor_gate.policy import Policy
    from backdoor_gate.publishers.attestation.keys import PublicKey
    from backdoor_gate.publishers.attestation.statement import Statement
    from backdoor_gate.sources.interface import Source


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
        UsageError: the policy, its references, a key or the clean data cannot be read.
        RegistryReadError: the registry or the bytes could not be read.
    """
    try:
        held = _held(reference, claim, registry)
        if claim.envelope is None:
            checks.check_verdict_tag(held.tags.get(VERDICT))
        statement, key = checks.opened(claim.envelope or held.tags.get(STATEMENT), trusted_keys(claim.policy))
        # A local path is a place, not a name: there the bytes alone say which model it is.
        checks.check_origin(statement, reference.uri if is_artifact(reference.uri) else None)
        if reference.version is not None:
            checks.check_registration(statement, held.registered)
        standing.check_policy(statement, claim.policy)
        standing.check_entry(statement, claim.policy.entry_digest(reference.name))
        standing.check_references(statement, references_digest(claim.policy))
        standing.check_pack(statement)
        plan = claim.policy.plan_for(reference.name)
        standing.check_code(statement, standing.architecture_digest(plan))
        standing.check_data(statement, standing.data_digest(claim.data or plan.data, source))
        standing.check_bytes(statement, reference, source)
        checks.check_current(statement, held.tags.get(VERDICT), datetime.now(UTC))
    except NotVerifiedError as error:
        raise NotVerifiedError(error.what, where=error.where or reference.uri, hint=error.hint) from error
    return Verified(reference, statement, key)


def _held(reference: Reference, claim: Claim, registry: Registry) -> Held:
    """Ask the registry now, whatever it said when the names were resolved; a statement in a file leaves tags aside."""
    if reference.version is not None:
        held = registry.held(reference)
        return held if claim.envelope is None else Held({}, held.registered)
    if claim.envelope is None:
        hint = "name a registry version such as models:/NAME/3, or give the statement with --statement"
        raise NotVerifiedError("no verdict: only registry versions carry one", hint=hint)
    return Held({}, None)
