"""Faults while a scan runs: a worker that is killed at any stage, a disk that is full, clocks that jump."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from table import UNMEASURED, Bench, children, in_this_process

from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.errors import WorkerError
from backdoor_gate.records import Job, Limits
from backdoor_gate.reports.progress import ScanProgress
from backdoor_gate.worker import launch
from backdoor_gate.worker.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from backdoor_gate.records import Progress, Scan

SCAN = ("scan", "model", "--policy=policy.yaml", "--no-publish", "--quiet", "--device=cpu")


@pytest.fixture
def sound(bench: Bench) -> Bench:
    """A bench with a candidate that passes."""
    random = np.random.default_rng(0)
    weights = {"1.weight": random.normal(0, 0.1, (10, 64)), "1.bias": np.zeros(10)}
    named = {name: array.astype(np.float32) for name, array in weights.items()}
    save_file(named, bench.candidate / "model.safetensors")
    bench.policy["limits"] = {"time": "60s", "isolation": "C"}
    bench.write_policy()
    return bench


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every private folder is made in here, and gone at the end, and so are the processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = children()
    yield
    assert list(folder.iterdir()) == []
    assert children() == before


def kill_after(bench: Bench, messages: int, seconds: float) -> None:
    """Kill the worker a while after the gate has sent so many messages."""
    send, count = Child.send, itertools.count(1)

    def sent(child: Child, message: bytes, **options: Any) -> None:
        send(child, message, **options)
        if next(count) == messages:
            time.sleep(seconds)
            os.kill(child.pid, signal.SIGKILL)

    bench.patch.setattr(Child, "send", sent)


def kill_while_measuring(bench: Bench) -> None:
    family: list[int] = []
    start = Child.__init__

    def started(child: Child, *arguments: Any, **options: Any) -> None:
        start(child, *arguments, **options)
        family.append(child.pid)

    bench.patch.setattr(Child, "__init__", started)
    bench.patch.setattr(ScanProgress, "update", lambda *_: os.kill(family[-1], signal.SIGKILL))


@pytest.mark.parametrize(
    "stage", [(1, 0.0), (1, 0.5), (2, 0.0), (2, 0.3), None], ids=["start", "import", "job", "load", "measure"]
)
def test_a_worker_killed_at_any_stage(
    sound: Bench, stage: tuple[int, float] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if stage is None:
        sound.policy["detectors"] = {"max_margin": {"restarts": 64, "steps": 1000}}
        sound.write_policy()
        kill_while_measuring(sound)
    else:
        kill_after(sound, *stage)
    code = exits.run(root, SCAN)
    captured = capsys.readouterr()
    assert (code, captured.err) == (UNMEASURED, "")
    assert "scanner process died (signal 9)" in captured.out
    sound.patch.setattr(launch, "run", in_this_process)
    sound.patch.setattr(ScanProgress, "update", lambda *_: None)
    sound.policy["detectors"] = {"max_margin": {"restarts": 1, "steps": 5}}
    sound.write_policy()
    assert exits.run(root, SCAN) == 0


def test_no_room_for_the_private_copy(sound: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        code = exits.run(root, SCAN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    captured = capsys.readouterr()
    assert (code, captured.err) == (UNMEASURED, "")
    assert captured.out.startswith("INCONCLUSIVE model: ")
    assert "File too large" in captured.out


def test_a_clock_that_jumps_changes_no_deadline(sound: Bench) -> None:
    jumps = itertools.cycle([0.0, 4e9, 1e6])
    sound.patch.setattr(time, "time", lambda: next(jumps))
    measure, jobs = launch.run, list[Job]()

    def run(job: Job, on_progress: Callable[[Progress], None], *, minimum: str) -> Scan:
        jobs.append(job)
        return in_this_process(job, on_progress, minimum=minimum)

    sound.patch.setattr(launch, "run", run)
    assert exits.run(root, (*SCAN, "--budget=20s")) == 0
    started = time.monotonic()
    asleep = (sys.executable, "-I", "-c", "import time; time.sleep(60)")
    with pytest.raises(WorkerError, match="timed out after 1 s"):
        measure(replace(jobs[0], limits=Limits(1, 4 << 30)), lambda _: None, command=asleep)
    assert time.monotonic() - started < 10
