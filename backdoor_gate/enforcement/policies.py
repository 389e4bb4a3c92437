"""The policies by which a statement counts on this server, where it names any: read once, when the server starts."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import NotVerifiedError, UsageError
from backdoor_gate.lifecycle import standing
from backdoor_gate.policy import load
from backdoor_gate.policy.references import references_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.policy import Policy
    from backdoor_gate.publishers.attestation.statement import Statement

POLICIES = "BACKDOOR_GATE_POLICIES"
"""Environment variable: policy files, separated as in PATH. None: a statement counts by whichever policy."""


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A policy that the server's environment names.

    Attributes:
        policy: as its file says.
        references: digest of the file of references that it names; None where it names none.
    """

    policy: Policy
    references: str | None


def from_environment() -> tuple[NamedPolicy, ...]:
    """Return the policies that this server's environment names.

    Raises:
        UsageError: a policy or its references cannot be read.
    """
    paths = [Path(path) for path in os.environ.get(POLICIES, "").split(os.pathsep) if path]
    return tuple(NamedPolicy(policy, references_digest(policy)) for policy in map(load, paths))


def check_judged(statement: Statement, name: str, policies: Sequence[NamedPolicy]) -> None:
    """Check that one of the server's policies judged, by its entry for the model and by its references.

    Args:
        statement: whose signature was found good.
        name: of the registered model.
        policies: those that count; without any there is nothing to compare with.

    Raises:
        NotVerifiedError: another policy judged, another entry of it, or with other references.
    """
    if not policies:
        return
    judged = [named for named in policies if named.policy.ref.digest == statement.policy_digest]
    if not judged:
        what = f"judged by a policy that this server does not name: {statement.policy_digest}"
        raise NotVerifiedError(what, hint="scan it by one that it names")
    # Files of the same bytes name their references by a path beside themselves, where others may lie.
    for named in judged[:-1]:
        with suppress(NotVerifiedError):
            _check_by(named, statement, name)
            return
    _check_by(judged[-1], statement, name)


def _check_by(named: NamedPolicy, statement: Statement, name: str) -> None:
    """Check the statement's entry and references against those of the policy that judged."""
    try:
        entry = named.policy.entry_digest(name)
    except UsageError as error:
        raise NotVerifiedError(error.what, hint=error.hint) from error
    standing.check_entry(statement, entry)
    standing.check_references(statement, named.references)
