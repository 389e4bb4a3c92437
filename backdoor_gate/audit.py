"""The runner: source → worker → verdict → reports → registry. Any failure on the way becomes evidence, never a pass."""

from __future__ import annotations

import secrets
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from backdoor_gate import __version__, prerequisites
from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import GateError, OutputError, RefusedError, UnmeasuredError, UsageError, WorkerError, worst
from backdoor_gate.policy.references import judgement_with_references
from backdoor_gate.records import Architecture, AuditReport, Job
from backdoor_gate.sources import is_artifact
from backdoor_gate.sources.manifest import path_digest
from backdoor_gate.sources.mlmodel import pickled_error
from backdoor_gate.verdict.coverage import coverage
from backdoor_gate.verdict.decide import decide, failed
from backdoor_gate.worker import launch, tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backdoor_gate.policy import ModelPlan, Policy
    from backdoor_gate.publishers.interface import Publisher
    from backdoor_gate.records import Candidate, Decision, Progress, Reference, Scan
    from backdoor_gate.sources.interface import Source

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Request:
    """One model to audit, and how.

    Attributes:
        reference: MODEL as the user gave it.
        policy: the policy that judges.
        data: clean images given on the command line; they override the policy's.
        budget: wall seconds for the worker; None for the policy's `limits.time`.
        device: `auto`, `cpu` or `cuda`.
        seed: of probes, splits and trigger starts.
    """

    reference: str
    policy: Policy
    data: str | None = None
    budget: float | None = None
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
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
    reference: Reference | None = None
    candidate: Candidate | None = None
    architecture_digest: str | None = None
    data_digest: str | None = None
    scan: Scan | None = None
    announced: bool = False
    """Whether the registry was told that a scan is on."""


def audit(
    request: Request,
    source: Source,
    *,
    publisher: Publisher | None = None,
    outputs: Iterable[Callable[[AuditReport], None]] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
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
    found = _Findings(secrets.token_hex(8), datetime.now(UTC), time.monotonic())
    faults: list[OutputError] = []
    try:
        found.reference = source.resolve(request.reference)
        with tempfile.TemporaryDirectory(prefix="backdoor-gate-") as folder:
            given = given_for(request, source, found.reference, Path(folder))
            found.architecture_digest = given.architecture.digest if given.architecture else None
            found.data_digest = path_digest(given.data) if given.data else None
            faults += _announce(publisher, found)  # only now: a usage error must not undo an older verdict
            found.candidate = source.fetch(found.reference, new_folder(Path(folder) / "candidate"))
            if found.candidate.pickled and not given.plan.unsafe_formats:
                raise pickled_error()
            job = job_for(request, given, found.candidate)
            found.scan = _measured(job, given.plan.unsafe_formats, on_progress, request.policy.minimum_isolation)
        decision = decide(found.scan, judgement.for_candidate(found.candidate.digest))
    except GateError as error:
        request.policy.locate(error, found.reference.name if found.reference else None)
        if isinstance(error, UsageError):
            raise
        decision = failed(error)
    except OSError as error:
        decision = failed(no_room(error))
    faults += _announce(publisher, found)
    report = _report(request, found, decision)
    for output in outputs:
        faults += _attempt(output, report)
    if publisher and found.reference and not faults:
        faults += _attempt(publisher.finish, found.reference, report)
    return Outcome(report, tuple(faults))


def _announce(publisher: Publisher | None, found: _Findings) -> list[OutputError]:
    """Mark the version as being scanned, once, where there is a registry and the version is known."""
    if publisher is None or found.reference is None or found.announced:
        return []
    found.announced = True
    return _attempt(publisher.begin, found.reference, found.scan_id)


def _attempt(write: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> list[OutputError]:
    """Call a writer; return its failure instead of raising it, so that the others still run."""
    try:
        write(*arguments, **named)
    except OutputError as fault:
        return [fault]
    return []


@dataclass(frozen=True, slots=True)
class Given:
    """What the pipeline itself brings to the scan: trusted, and checked before the candidate is touched."""

    plan: ModelPlan
    architecture: Architecture | None
    data: Path | None


def given_for(request: Request, source: Source, reference: Reference, folder: Path) -> Given:
    """Find the architecture's code and the clean data; artifacts are downloaded below `folder`.

    Raises:
        UsageError: the policy has no plan for the model, or its code or data is not there.
        RegistryReadError: the store of the clean data is unreachable.
    """
    plan = request.policy.plan_for(reference.name)
    named = "--data" if request.data else f"data.clean in {request.policy.place('data.clean', reference.name)}"
    data = local_data(request.data or plan.data, source, folder / "data", named=named)
    return Given(plan, _architecture(plan), data)


def job_for(request: Request, given: Given, candidate: Candidate) -> Job:
    """Return what the worker is told of a candidate."""
    limits = request.policy.limits
    return Job(
        candidate=candidate.path,
        formats=given.plan.formats,
        declared=given.plan.declared,
        signature=candidate.signature,
        architecture=given.architecture,
        data=given.data,
        max_images=given.plan.max_images,
        detectors=request.policy.detectors,
        device=request.device,
        seed=request.seed,
        limits=replace(limits, seconds=request.budget or limits.seconds),
        weights_in=candidate.weights_in,
    )


def _measured(job: Job, unsafe: tuple[str, ...], on_progress: Callable[[Progress], None], minimum: str) -> Scan:
    """Run the worker; once more, on the formats that can run code, where it refused the candidate as data.

    So whether the candidate's code could run is this side's own knowledge, not the word of a worker that it ran in.
    """
    deadline = time.monotonic() + job.limits.seconds
    try:
        return launch.run(job, on_progress, minimum=minimum)
    except RefusedError:
        if not unsafe:
            raise
    if job.device == "cuda":
        raise UnmeasuredError("a candidate that can run code gets no GPU", hint="use --device cpu")
    left = max(1, round(deadline - time.monotonic()))
    again = replace(job, formats=(*job.formats, *unsafe), device="cpu", limits=replace(job.limits, seconds=left))
    scan = launch.run(again, on_progress, minimum=min(minimum, tiers.B))
    if scan.format not in unsafe:
        raise WorkerError("malformed result: a format that was refused before", hint="treat the candidate as hostile")
    return replace(scan, attested=False)


def no_room(error: OSError) -> UnmeasuredError:
    """Explain a failure of the local disk: the private copies could not be made."""
    return UnmeasuredError(
        f"the candidate could not be copied: {error.strerror or type(error).__name__}",
        where=tempfile.gettempdir(),
        hint="free some space, or point TMPDIR to a larger disk",
    )


def new_folder(path: Path) -> Path:
    """Make a folder and return it."""
    path.mkdir()
    return path


def _architecture(plan: ModelPlan) -> Architecture | None:
    """Return the trusted code that builds the network, with the digest of its source."""
    if plan.architecture is None:
        return None
    digest = code_digest(plan.architecture, plan.architecture_path)
    return Architecture(plan.architecture, plan.architecture_path, plan.architecture_kwargs, digest)


def local_data(
    reference: str | None, source: Source, destination: Path, *, named: str = "data.clean or --data"
) -> Path | None:
    """Return the clean data as a local file or folder, downloaded to `destination` where it is an artifact URI.

    Args:
        reference: path or artifact URI; None for no data.
        source: where artifacts are.
        destination: of a download.
        named: where the user gave the reference, for the message.

    Raises:
        UsageError: there is nothing at that place.
        RegistryReadError: the artifact store is unreachable.
    """
    if reference is None:
        return None
    if is_artifact(reference):
        return source.fetch_data(reference, new_folder(destination))
    path = Path(reference)
    if not path.exists():
        raise UsageError("no such file or folder", where=reference, hint=f"correct {named}")
    return path.resolve()


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
        scan=found.scan,
        tool_version=__version__,
        expected_detectors=policy.judgement.required,
    )
