"""Sets an alias on a verified version: verify, set, verify again, read back; any fault takes the alias back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.errors import GateError, NotVerifiedError, UsageError
from backdoor_gate.lifecycle.verify import verify
from backdoor_gate.sources.references import ByAlias, parse

if TYPE_CHECKING:
    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.lifecycle.registry import Registry
    from backdoor_gate.lifecycle.verify import Claim, Verified
    from backdoor_gate.sources.interface import Source


def promote(reference: Reference, alias: str, claim: Claim, source: Source, registry: Registry) -> Verified:
    """Verify a version and let an alias point to its number.

    Args:
        reference: from `source.resolve`.
        alias: to set, one that `check_alias` lets pass.
        claim: the policy that must have judged.
        source: where the model is.
        registry: where its tags and aliases are.

    Raises:
        NotVerifiedError: there is no valid PASS, or something moved meanwhile; the alias points to what it did before.
        UsageError: not a registered version.
        OutputError: the registry did not let the alias be set.
        RegistryReadError: the registry could not be read.
    """
    if reference.version is None:
        hint = "name a version such as models:/NAME/3"
        raise UsageError("only registry versions can be promoted", where=reference.requested, hint=hint)
    verify(reference, claim, source, registry)
    _check_unmoved(reference, registry)
    before = registry.alias(reference, alias)
    try:
        registry.point(reference, alias, reference.version)
        verified = verify(reference, claim, source, registry)
        _check_points_here(reference, alias, registry)
    except BaseException as error:
        outcome = _take_back(reference, alias, before, registry, error)
        if isinstance(error, NotVerifiedError):
            raise NotVerifiedError(f"{error.what}; {outcome}", where=error.where, hint=error.hint) from error
        raise
    return verified


def _check_unmoved(reference: Reference, registry: Registry) -> None:
    """Check that the alias by which the version was named still names it."""
    asked = parse(reference.requested)
    if not isinstance(asked, ByAlias):
        return
    now = registry.alias(reference, asked.alias)
    if now != reference.version:
        what = (
            f"alias '{asked.alias}' moved from version {reference.version} to {now or 'nothing'} while it was verified"
        )
        raise NotVerifiedError(what, where=reference.uri, hint="name the version by its number")


def _check_points_here(reference: Reference, alias: str, registry: Registry) -> None:
    if (now := registry.alias(reference, alias)) != reference.version:
        what = f"alias '{alias}' was moved to {f'version {now}' if now else 'nothing'} by someone else meanwhile"
        raise NotVerifiedError(what, where=reference.uri, hint="find out who sets this alias beside the gate")


def _take_back(reference: Reference, alias: str, before: str | None, registry: Registry, cause: BaseException) -> str:
    """Let the alias point to what it did before, unless someone else has moved it; say in words what became of it."""
    try:
        if registry.alias(reference, alias) != reference.version:
            return f"alias '{alias}' was left as it is"
        registry.point(reference, alias, before)
        if registry.alias(reference, alias) != before:
            raise NotVerifiedError("it was moved again")
    except GateError as error:
        what = f"alias '{alias}' may point to version {reference.version}, and could not be taken back ({error.what})"
        raise NotVerifiedError(what, where=reference.uri, hint="take it back by hand") from cause
    return f"alias '{alias}' is back at version {before}" if before else f"alias '{alias}' was removed"
