"""Reads the references that a policy names, and sees whether they compare with what the policy measures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.bounded_files import read_bounded
from backdoor_gate.errors import UsageError
from backdoor_gate.verdict.references import HINT, MAX_BYTES, References, digest, parse, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.policy.plan import Policy
    from backdoor_gate.verdict.judgement import Judgement


def judgement_with_references(policy: Policy) -> Judgement:
    """Return the policy's part in a decision, with the references that it names, or else those of the gate's own.

    Raises:
        UsageError: they cannot be read, or are none.
    """
    if policy.references is None:
        return replace(policy.judgement, ours=shipped() if shipped().unfit(policy.detectors) is None else None)
    references, identity = _named(policy, policy.references)
    unfit = references.unfit(policy.detectors) or ""
    return replace(policy.judgement, references=references, references_digest=identity, references_unfit=unfit)


def references_digest(policy: Policy) -> str | None:
    """Return the digest of the references that the policy names; None where it names none.

    Raises:
        UsageError: they cannot be read, or are none.
    """
    return None if policy.references is None else _named(policy, policy.references)[1]


def read(path: Path) -> tuple[References, str]:
    """Return the references in a file, and the `sha256:<hex>` of its bytes.

    Raises:
        UsageError: there is no such file, it is too large, or it holds no references of this version.
    """
    content = read_bounded(path, MAX_BYTES, hint=HINT)
    return parse(content, str(path)), digest(content)


def _named(policy: Policy, path: Path) -> tuple[References, str]:
    """Read what the policy names; an error names its line."""
    try:
        return read(path)
    except UsageError as error:
        error.where = f"{policy.place('references')}: references: {error.where}"
        raise
