"""Is a version due for a scan, and why? The signed statement is asked, no tag; the bytes last, as they cost most."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backdoor_gate.errors import NotVerifiedError
from backdoor_gate.fleet import Due, Reason, VersionVerdict
from backdoor_gate.lifecycle import standing
from backdoor_gate.policy.references import references_digest
from backdoor_gate.publishers.attestation import checks
from backdoor_gate.publishers.mlflow import STATEMENT, VERDICT
from backdoor_gate.records import Verdict
from backdoor_gate.units import format_duration
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.lifecycle.registry import Held, Registry
    from backdoor_gate.policy import ModelPlan, Policy
    from backdoor_gate.publishers.attestation.keys import PublicKey
    from backdoor_gate.publishers.attestation.statement import Statement
    from backdoor_gate.sources.interface import Source

_VERDICTS = frozenset(verdict.value for verdict in Verdict)


@dataclass(slots=True)
class Reviewer:
    """Reviews the verdicts of one registry. References, code and clean data are hashed once for all of them.

    Attributes:
        policy: the one that must have judged.
        trusted: keys of which one must have signed.
        source: where the models are.
        registry: where their tags are.
        stale_after: seconds after which a verdict is due although it has not expired; None for never.
    """

    policy: Policy
    trusted: Sequence[PublicKey]
    source: Source
    registry: Registry
    stale_after: float | None = None
    _code: dict[tuple[str | None, object], str | None] = field(default_factory=dict, init=False, repr=False)
    _data: dict[str | None, str | None] = field(default_factory=dict, init=False, repr=False)
    _references: dict[str, str | None] = field(default_factory=dict, init=False, repr=False)

    def review(self, reference: Reference, *, fetch: bool) -> VersionVerdict | Reason:
        """Return the verdict that stands, or why there is none.

        Args:
            reference: of a registered version, from `source.resolve`.
            fetch: whether to fetch the bytes and compare them with those that were scanned.

        Raises:
            UsageError: the policy's references, code or clean data are not there.
            RegistryReadError: the registry or the bytes could not be read.
        """
        try:
            return self._standing(reference, self.registry.held(reference), fetch)
        except _DueError as due:
            return due.reason

    def _standing(self, reference: Reference, held: Held, fetch: bool) -> VersionVerdict:
        plan, verdict, now = self.policy.plan_for(reference.name), held.tags.get(VERDICT), datetime.now(UTC)
        with _due(Due.UNFINISHED if verdict else Due.NO_VERDICT):
            checks.check_verdict_tag(verdict)
        with _due(Due.UNPROVEN):
            statement, _ = checks.opened(held.tags.get(STATEMENT), self.trusted)
            checks.check_origin(statement, reference.uri)
            checks.check_registration(statement, held.registered)
            checks.check_tag_agrees(statement, verdict)
        with _due(Due.POLICY):
            standing.check_policy(statement, self.policy)
            standing.check_entry(statement, self.policy.entry_digest(reference.name))
        with _due(Due.REFERENCES):
            standing.check_references(statement, self._references_digest())
        with _due(Due.DETECTOR_PACK):
            standing.check_pack(statement)
        with _due(Due.ARCHITECTURE):
            standing.check_code(statement, self._code_digest(plan))
        with _due(Due.DATA):
            standing.check_data(statement, self._data_digest(plan))
        with _due(Due.EXPIRED):
            checks.check_dates(statement, now)
        with _due(Due.STALE):
            self._check_age(statement, now)
        with _due(Due.INCONCLUSIVE):
            _check_conclusive(statement)
        if fetch:
            with _due(Due.BYTES):
                standing.check_bytes(statement, reference, self.source)
        return _finding(statement)

    def _references_digest(self) -> str | None:
        key = self.policy.ref.digest
        if key not in self._references:
            self._references[key] = references_digest(self.policy)
        return self._references[key]

    def _code_digest(self, plan: ModelPlan) -> str | None:
        key = (plan.architecture, plan.architecture_path)
        if key not in self._code:
            self._code[key] = standing.architecture_digest(plan)
        return self._code[key]

    def _data_digest(self, plan: ModelPlan) -> str | None:
        if plan.data not in self._data:
            self._data[plan.data] = standing.data_digest(plan.data, self.source)
        return self._data[plan.data]

    def _check_age(self, statement: Statement, now: datetime) -> None:
        age = (now - statement.scanned_at).total_seconds()
        if self.stale_after is not None and age >= self.stale_after:
            what = f"scanned on {statement.scanned_at.isoformat()}, {format_duration(self.stale_after)} ago or more"
            raise NotVerifiedError(what)


def _check_conclusive(statement: Statement) -> None:
    if statement.verdict not in _VERDICTS - {Verdict.INCONCLUSIVE}:
        raise NotVerifiedError(f"the last scan was {one_line(statement.verdict, 40, ascii_only=True)}")


def _finding(statement: Statement) -> VersionVerdict:
    words = f"kept: scanned on {statement.scanned_at.date()}, valid until {statement.expires_at.date()}"
    return VersionVerdict(
        Verdict(statement.verdict),
        (words,),
        statement.scan_id,
        statement.scanned_at,
        statement.expires_at,
        statement.digest,
    )


class _DueError(Exception):
    """A check that failed says why the version is due."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.words)
        self.reason = reason


@contextmanager
def _due(due: Due) -> Iterator[None]:
    """Inside this block, a check that fails makes the version due for this reason."""
    try:
        yield
    except NotVerifiedError as error:
        raise _DueError(Reason(due, error.what)) from error
