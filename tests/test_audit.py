"""The runner: whatever fails on the way ends as the right verdict, the right exit code, and nothing left behind."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate import audit as runner
from backdoor_gate.audit import audit
from backdoor_gate.candidate_facts import Candidate, FileEntry, Reference
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import (
    GateError,
    NotVerifiedError,
    OutputError,
    RefusedError,
    RegistryReadError,
    UnmeasuredError,
    UsageError,
    WorkerError,
    worst,
)
from backdoor_gate.orders import Request
from backdoor_gate.policy.load import parse
from backdoor_gate.publishers.interface import Publisher
from backdoor_gate.records import DataFacts, InputSpec, Measured, Runtime, Scan, Verdict
from backdoor_gate.sources.interface import Source
from backdoor_gate.verdict.references import References, digest, render
from backdoor_gate.worker.tiers import Isolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.policy import Policy
    from backdoor_gate.records import AuditReport, Job, Progress

POLICY = """\
version: 1
model:
  num_classes: 10
  input: {shape: [1, 8, 8]}
  formats: [pt2]
detectors: {neural_cleanse: {}}
limits: {time: 90s, isolation: LEAST}
verdict_ttl: 2d
"""
CLEAN = (0.11, 0.1, 0.12, 0.09, 0.13, 0.105, 0.095, 0.115, 0.125, 0.108)
PLANTED = (*CLEAN[:9], 0.004)


def policy(least: str = "C", **changes: object) -> Policy:
    return replace(parse(POLICY.replace("LEAST", least).encode(), Path("gate.yaml")), **changes)


class OneModel(Source):
    """A registry of one model, any step of which can fail."""

    def __init__(self, **failures: GateError) -> None:
        self.failures = failures
        self.folders: list[Path] = []

    def _step(self, name: str) -> None:
        if name in self.failures:
            raise self.failures[name]

    def resolve(self, reference: str) -> Reference:
        """Resolve to version 3."""
        self._step("resolve")
        return Reference(reference, "models:/digits/3", "digits", "3")

    def fetch(self, reference: Reference, destination: Path) -> Candidate:
        """Write one file."""
        self._step("fetch")
        self.folders.append(destination)
        assert not any(destination.iterdir())
        (destination / "model.pt2").write_bytes(b"weights")
        files = (FileEntry("model.pt2", 7, "ab" * 32),)
        return Candidate(
            reference.requested, reference.uri, reference.name, reference.version, destination, files, "sha256:ab"
        )

    def fetch_data(self, uri: str, destination: Path) -> Path:
        """Write one file."""
        self._step("fetch_data")
        self.folders.append(destination)
        (destination / "clean.npz").write_bytes(uri.encode())
        return destination / "clean.npz"


class Tags(Publisher):
    """A registry's tags: `pending`, then the verdict."""

    def __init__(self, **failures: OutputError) -> None:
        self.failures = failures
        self.written: list[str] = []

    def begin(self, reference: Reference, scan_id: str) -> None:
        """Write that a scan is on its way."""
        if "begin" in self.failures:
            raise self.failures["begin"]
        assert reference.version == "3"
        self.written.append(f"pending:{scan_id}")

    def finish(self, reference: Reference, report: AuditReport) -> None:
        """Write the verdict."""
        if "finish" in self.failures:
            raise self.failures["finish"]
        assert reference.version == "3"
        self.written.append(report.decision.verdict)


Worker = "Callable[..., list[Job]]"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Stand in for the child process: return what it measured, or raise; the jobs it was given are returned."""

    def stand_in(
        values: tuple[float | None, ...] = CLEAN, isolation: str = "C", failure: Exception | None = None
    ) -> list[Job]:
        jobs: list[Job] = []

        def run(job: Job, on_progress: Callable[[Progress], None], *, minimum: str) -> Scan:
            assert callable(on_progress)
            Isolation(isolation, ("no such thing",), ()).require(minimum)
            assert (job.candidate / "model.pt2").read_bytes() == b"weights"
            jobs.append(job)
            if failure:
                raise failure
            found = Measured("neural_cleanse", values, success=(1.0,) * len(values), verified=True)
            runtime = Runtime("2.10.0", "cpu", isolation, job.seed)
            return Scan(10, InputSpec((1, 8, 8)), "pt2", DataFacts("clean", 500, 0.9), (found,), runtime)

        monkeypatch.setattr(runner.launch, "run", run)
        return jobs

    return stand_in


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep temporary folders in one place, and see that none is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


REQUEST = Request("models:/digits@challenger", policy())

# ---------------------------------------------------------------------------------------------- all goes well


def test_a_pass(worker: Worker) -> None:
    (jobs, tags, seen) = worker(), Tags(), []
    outcome = audit(REQUEST, OneModel(), publisher=tags, outputs=[seen.append])
    assert outcome.exit_code == 0
    assert outcome.faults == ()
    assert seen == [outcome.report]
    report = outcome.report
    assert tags.written == [f"pending:{report.scan_id}", "PASS"]
    assert report.decision.verdict is Verdict.PASS
    assert report.expires_at - report.scanned_at == timedelta(days=2)
    assert (report.requested, report.candidate.uri) == ("models:/digits@challenger", "models:/digits/3")
    assert (report.detector_pack, report.expected_detectors) == (PACK_VERSION, ("neural_cleanse",))
    assert report.policy == REQUEST.policy.ref
    assert (report.architecture_digest, report.data_digest) == (None, None)
    assert report.entry_digest == REQUEST.policy.entry_digest("digits")
    assert report.seconds >= 0
    assert report.coverage.tested[0].startswith("neural_cleanse:")
    (job,) = jobs
    assert (job.limits.seconds, job.formats, job.seed, job.data) == (90, ("pt2",), 0, None)


def test_a_block(worker: Worker) -> None:
    worker(PLANTED)
    tags = Tags()
    outcome = audit(REQUEST, OneModel(), publisher=tags)
    assert outcome.exit_code == 1
    assert tags.written[-1] == "BLOCK"
    assert outcome.report.decision.suspect_classes == (9,)


def test_two_scans_are_never_taken_for_each_other(worker: Worker) -> None:
    worker()
    assert len({audit(REQUEST, OneModel()).report.scan_id for _ in range(5)}) == 5


def test_the_callers_wishes_reach_the_worker(worker: Worker, tmp_path: Path) -> None:
    jobs = worker()
    (tmp_path / "mine.npz").write_bytes(b"x")
    audit(replace(REQUEST, data=str(tmp_path / "mine.npz"), budget=12.5, device="cpu", seed=7), OneModel())
    (job,) = jobs
    assert (job.limits.seconds, job.device, job.seed, job.data) == (12.5, "cpu", 7, tmp_path / "mine.npz")
    assert job.limits.memory == REQUEST.policy.limits.memory


def test_data_in_a_store_is_fetched_and_hashed(worker: Worker) -> None:
    jobs, source = worker(), OneModel()
    outcome = audit(replace(REQUEST, data="runs:/abc/clean.npz"), source)
    assert jobs[0].data.name == "clean.npz"
    assert outcome.report.data_digest.startswith("sha256:")
    assert len(source.folders) == 2
    assert not any(folder.exists() for folder in source.folders)


def test_renamed_data_is_the_same_data(worker: Worker, tmp_path: Path) -> None:
    worker()
    digests = set()
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"same")
        digests.add(audit(replace(REQUEST, data=str(tmp_path / name)), OneModel()).report.data_digest)
    assert len(digests) == 1


@pytest.mark.parametrize("failure", [None, RefusedError("truncated")])
def test_the_references_are_named_also_where_nothing_was_ranked(
    worker: Worker, tmp_path: Path, failure: GateError | None
) -> None:
    worker(failure=failure)
    content = render(References(detectors={}, data="clean", false_block_rate=0.01))
    (tmp_path / "r.json").write_bytes(content)
    policy = replace(REQUEST.policy, references=tmp_path / "r.json")
    assert audit(replace(REQUEST, policy=policy), OneModel()).report.references_digest == digest(content)
    assert audit(REQUEST, OneModel()).report.references_digest is None


# ---------------------------------------------------------------------------------------------- failures as evidence

ENDS = [
    (RefusedError("truncated", where="model.pt2"), Verdict.REFUSED, 3),
    (UnmeasuredError("no gradient"), Verdict.INCONCLUSIVE, 4),
    (WorkerError("timed out after 90 s"), Verdict.INCONCLUSIVE, 4),
    (RegistryReadError("no such version"), Verdict.INCONCLUSIVE, 4),
    (NotVerifiedError("odd, but not a pass"), Verdict.INCONCLUSIVE, 4),
    (GateError("anything of ours"), Verdict.INCONCLUSIVE, 4),
]


@pytest.mark.parametrize(("error", "verdict", "code"), ENDS)
@pytest.mark.parametrize("step", ["resolve", "fetch", "fetch_data", "worker"])
def test_any_failure_becomes_a_report(worker: Worker, step: str, error: GateError, verdict: Verdict, code: int) -> None:
    worker(failure=error if step == "worker" else None)
    tags, seen = Tags(), []
    request = replace(REQUEST, data="runs:/abc/clean.npz")
    outcome = audit(request, OneModel(**{step: error}), publisher=tags, outputs=[seen.append])
    assert outcome.exit_code == code
    assert outcome.report.decision.verdict is verdict
    assert outcome.report.decision.reasons == (str(error),)
    assert outcome.report.scan is None
    assert outcome.report.expected_detectors == ("neural_cleanse",)
    assert seen == [outcome.report]
    # Without a version there is nothing to tag.
    assert tags.written == ([] if step == "resolve" else [f"pending:{outcome.report.scan_id}", verdict])
    assert (outcome.report.candidate is None) == (step != "worker")


@pytest.mark.parametrize("step", ["resolve", "fetch", "fetch_data", "worker"])
def test_a_usage_error_judges_nothing(worker: Worker, step: str) -> None:
    error = UsageError("wrong")
    worker(failure=error if step == "worker" else None)
    tags, seen = Tags(), []
    with pytest.raises(UsageError, match="wrong"):
        audit(
            replace(REQUEST, data="runs:/abc/clean.npz"),
            OneModel(**{step: error}),
            publisher=tags,
            outputs=[seen.append],
        )
    assert seen == []
    assert not any(tag in list(Verdict) for tag in tags.written)
    if step in {"resolve", "fetch_data"}:  # found before the candidate is touched: an older verdict stands
        assert tags.written == []


def test_a_full_disk_is_inconclusive(worker: Worker) -> None:
    worker()
    outcome = audit(REQUEST, OneModel(fetch=OSError(28, "No space left on device")))
    assert outcome.exit_code == 4
    assert "No space left on device" in outcome.report.decision.reasons[0]


def test_data_that_is_not_there_is_a_usage_error(worker: Worker, tmp_path: Path) -> None:
    worker()
    with pytest.raises(UsageError, match="no such file or folder"):
        audit(replace(REQUEST, data=str(tmp_path / "none.npz")), OneModel())


def test_a_fault_of_ours_is_no_verdict(worker: Worker) -> None:
    worker(failure=ZeroDivisionError())
    tags = Tags()
    with pytest.raises(ZeroDivisionError):
        audit(REQUEST, OneModel(), publisher=tags)
    assert [tag.partition(":")[0] for tag in tags.written] == ["pending"]


@pytest.mark.parametrize(
    ("reached", "least", "code"),
    [
        ("A", "A", 0),
        ("B", "A", 4),
        ("C", "A", 4),
        ("A", "B", 0),
        ("B", "B", 0),
        ("C", "B", 4),
        ("A", "C", 0),
        ("C", "C", 0),
    ],
)
def test_isolation_below_the_policys_minimum(worker: Worker, reached: str, least: str, code: int) -> None:
    worker(isolation=reached)
    outcome = audit(replace(REQUEST, policy=policy(least)), OneModel())
    assert outcome.exit_code == code
    if code:
        assert outcome.report.decision.verdict is Verdict.INCONCLUSIVE
        rule = f"sandbox unavailable: no such thing; policy needs tier {least}"
        assert rule in outcome.report.decision.reasons[0]


def test_a_block_below_the_minimum_isolation_is_no_block(worker: Worker) -> None:
    worker(PLANTED, isolation="C")
    assert audit(replace(REQUEST, policy=policy("B")), OneModel()).exit_code == 4


# ---------------------------------------------------------------------------------------------- what cannot be written

DENIED = OutputError("permission denied")


def deny(report: AuditReport) -> None:
    raise OutputError("disk full", where=report.scan_id)


@pytest.mark.parametrize(("values", "code"), [(CLEAN, 5), (PLANTED, 1)])
@pytest.mark.parametrize("step", ["begin", "finish"])
def test_a_registry_that_takes_no_tags(worker: Worker, step: str, values: tuple[float, ...], code: int) -> None:
    worker(values)
    tags, seen = Tags(**{step: DENIED}), []
    outcome = audit(REQUEST, OneModel(), publisher=tags, outputs=[seen.append])
    assert outcome.exit_code == code
    assert outcome.faults == (DENIED,)
    assert seen == [outcome.report]
    assert not any(tag in list(Verdict) for tag in tags.written)


@pytest.mark.parametrize(("values", "code"), [(CLEAN, 5), (PLANTED, 1)])
def test_a_report_that_cannot_be_written(worker: Worker, values: tuple[float, ...], code: int) -> None:
    """The others are written all the same; the tag stays pending, so that nothing is promoted without its report."""
    worker(values)
    tags, seen = Tags(), []
    outcome = audit(REQUEST, OneModel(), publisher=tags, outputs=[deny, seen.append, deny])
    assert outcome.exit_code == code
    assert [fault.what for fault in outcome.faults] == ["disk full", "disk full"]
    assert seen == [outcome.report]
    assert tags.written == [f"pending:{outcome.report.scan_id}"]


def test_a_failed_audit_with_a_failed_report_is_still_what_it_was(worker: Worker) -> None:
    worker(failure=RefusedError("truncated"))
    assert audit(REQUEST, OneModel(), outputs=[deny]).exit_code == 3


# ---------------------------------------------------------------------------------------------- exit codes


def test_the_worst_of_several() -> None:
    order = (1, 3, 4, 6, 5, 70, 2, 0)
    for worse, better in itertools.combinations(order, 2):
        assert worst([worse, better]) == worst([better, worse]) == worse
    for codes in itertools.permutations((0, 2, 5, 4, 1)):
        assert worst(codes) == 1
    assert worst([0, 0]) == 0
    assert worst([0, 99]) == 70
    assert worst([99, 4]) == 4
    assert worst([]) != 0
