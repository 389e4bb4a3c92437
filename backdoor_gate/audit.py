"""The runner: source → worker → verdict → reports → registry. Any failure on the way becomes evidence, never a pass."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ParamSpec

from backdoor_gate import __version__, prerequisites
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import GateError, OutputError, UsageError, WorkerError, worst
from backdoor_gate.orders import given_for, job_for, no_room, private_copy, private_folder
from backdoor_gate.policy.references import judgement_with_references
from backdoor_gate.records import AuditReport
from backdoor_gate.sources.manifest import path_digest
from backdoor_gate.sources.mlmodel import pickled_error
from backdoor_gate.verdict.coverage import coverage
from backdoor_gate.verdict.decide import decide, failed
from backdoor_gate.worker import launch
from backdoor_gate.worker.attempts import as_data_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backdoor_gate.candidate_facts import Candidate, Reference
    from backdoor_gate.orders import Request
    from backdoor_gate.publishers.interface import Publisher
    from backdoor_gate.records import Decision, Job, Progress, Scan
    from backdoor_gate.sources.interface import Source

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Audited:
    """The report of an audit, and what could not be written of it."""

    report: AuditReport
    faults: tuple[OutputError, ...] = ()

    @property
    def exit_code(self) -> int:
        """Zero only for a PASS of which everything was written."""
        return worst([self.report.decision.verdict.exit_code, *(fault.exit_code for fault in self.faults)])


@dataclass(slots=True)
class _Findings:
    """What is known so far; whatever a failure leaves empty stays empty in the report."""

    scan_id: str
    scanned_at: datetime
    started: float
    """On the monotonic clock."""
    references_digest: str | None
    reference: Reference | None = None
    candidate: Candidate | None = None
    architecture_digest: str | None = None
    data_digest: str | None = None
    entry_digest: str | None = None
    scan: Scan | None = None
    announced: bool = False
    """Whether the registry was told that a scan is on."""
    faults: list[OutputError] = field(default_factory=list)
    """What could not be written."""


def audit(
    request: Request,
    source: Source,
    *,
    publisher: Publisher | None = None,
    outputs: Iterable[Callable[[AuditReport], None]] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Audited:
    """Audit one model and write what was found.

    Args:
        request: the model and the policy.
        source: where the reference lives.
        publisher: writes the verdict back to the registry; None writes nothing.
        outputs: each writes one report, and raises OutputError where it cannot.
        on_progress: called while the worker measures.

    Raises:
        UsageError: the installation, the reference, the policy or the clean data is wrong; nothing was judged.
    """
    prerequisites.check()
    judgement = judgement_with_references(request.policy)
    references = judgement.references_digest or None
    found = _Findings(secrets.token_hex(8), datetime.now(UTC), time.monotonic(), references)
    try:
        candidate, scan = _scanned(request, source, found, publisher, on_progress)
        decision = decide(scan, judgement.for_candidate(candidate.digest))
    except GateError as error:
        request.policy.locate(error, found.reference.name if found.reference else None)
        if isinstance(error, UsageError):
            raise
        decision = failed(error)
    except OSError as error:
        decision = failed(no_room(error))
    _announce(publisher, found)
    report = _report(request, found, decision)
    for output in outputs:
        found.faults += _attempt(output, report)
    if publisher and found.reference and not found.faults:
        found.faults += _attempt(publisher.finish, found.reference, report)
    return Audited(report, tuple(found.faults))


def _scanned(
    request: Request,
    source: Source,
    found: _Findings,
    publisher: Publisher | None,
    on_progress: Callable[[Progress], None],
) -> tuple[Candidate, Scan]:
    """Bring everything together and run the worker; each step leaves what it knows in `found`, should the next fail."""
    found.reference = source.resolve(request.reference)
    found.entry_digest = request.policy.entry_digest(found.reference.name)
    with private_folder() as folder:
        given = given_for(request, source, found.reference, folder)
        found.architecture_digest = given.architecture.digest if given.architecture else None
        found.data_digest = path_digest(given.data) if given.data else None
        _announce(publisher, found)  # only now: a usage error must not undo an older verdict
        candidate = found.candidate = private_copy(source, found.reference, folder)
        if candidate.pickled and not given.plan.unsafe_formats:
            raise pickled_error()
        job = job_for(request, given, candidate)
        scan = _measured(job, given.plan.unsafe_formats, on_progress, request.policy.minimum_isolation)
    found.scan = scan
    return candidate, scan


def _announce(publisher: Publisher | None, found: _Findings) -> None:
    """Mark the version as being scanned, once, where there is a registry and the version is known."""
    if publisher is not None and found.reference is not None and not found.announced:
        found.announced = True
        found.faults += _attempt(publisher.begin, found.reference, found.scan_id)


def _attempt(write: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> list[OutputError]:
    """Call a writer; return its failure instead of raising it, so that the others still run."""
    try:
        write(*arguments, **named)
    except OutputError as fault:
        return [fault]
    return []


def _measured(job: Job, unsafe: tuple[str, ...], on_progress: Callable[[Progress], None], minimum: str) -> Scan:
    """Run the worker; what a candidate says whose code could run is not attested."""

    def run(job: Job, minimum: str) -> Scan:
        return launch.run(job, on_progress, minimum=minimum)

    scan, exposed = as_data_first(job, unsafe, minimum, run)
    if exposed and scan.format not in unsafe:
        raise WorkerError("malformed result: a format that was refused before", hint="treat the candidate as hostile")
    return replace(scan, attested=False) if exposed else scan


def _report(request: Request, found: _Findings, decision: Decision) -> AuditReport:
    policy = request.policy
    return AuditReport(
        scan_id=found.scan_id,
        scanned_at=found.scanned_at,
        expires_at=found.scanned_at + policy.verdict_ttl,
        requested=request.reference,
        candidate=found.candidate,
        policy=policy.ref,
        detector_pack=PACK_VERSION,
        false_block_rate=policy.judgement.false_block_rate,
        decision=decision,
        coverage=coverage(decision.detectors, clean_data=found.scan is not None and found.scan.data.kind == "clean"),
        seconds=time.monotonic() - found.started,
        architecture_digest=found.architecture_digest,
        data_digest=found.data_digest,
        entry_digest=found.entry_digest,
        references_digest=found.references_digest,
        scan=found.scan,
        tool_version=__version__,
        expected_detectors=policy.judgement.required,
    )
