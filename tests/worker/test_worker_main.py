"""The real child, with a measuring function of the test's own in the place of the real one."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from backdoor_gate.errors import RefusedError, UnmeasuredError, UsageError, WorkerError
from backdoor_gate.records import Measured
from backdoor_gate.scan import machine
from backdoor_gate.scan.network import precision
from backdoor_gate.worker import launch, main
from backdoor_gate.worker.main import explain
from benchmarks import pretended

if TYPE_CHECKING:
    from conftest import Script

    from backdoor_gate.records import Job, Progress, Scan

STAND_IN = """
import sys, types
scan = types.ModuleType("backdoor_gate.scan")
scan.session = types.ModuleType("backdoor_gate.scan.session")
sys.modules.update({"backdoor_gate.scan": scan, "backdoor_gate.scan.session": scan.session})
sys.path.insert(0, %r)
from backdoor_gate.errors import *
from backdoor_gate.records import *
from backdoor_gate.worker import main
from worker_records import make_scan
def measure(job, report):
    import os, resource, time
    %s
scan.session.measure, scan.session.get_ready = measure, lambda: None
main.main(int(sys.argv[-1]))
"""


def ran(job: Job, script: Script, body: str, heard: list[Progress] | None = None) -> Scan:
    """Run the real child's main function with `body` as the measuring function."""
    command = script("", prelude=STAND_IN % (str(Path(__file__).parent), body))
    return launch.run(job, ([] if heard is None else heard).append, command=command)


def test_a_scan_and_its_progress_come_back(job: Job, script: Script) -> None:
    heard: list[Progress] = []
    body = "[report(Progress(0, n, 500, (0, 1))) for n in range(1, 501)]; print('noise'); return make_scan()"
    scan = ran(job, script, body, heard)
    assert scan.evidence[1].detector == "max_margin"
    assert (heard[0].done, heard[-1].done) == (1, 500)
    assert len(heard) < 20


def test_a_scan_of_very_many_classes_comes_back(job: Job, script: Script) -> None:
    body = """
    from dataclasses import replace
    vector = tuple(1 / (3 + k) for k in range(job.declared.num_classes))
    evidence = tuple(Measured(plan.name, vector, vector, True) for plan in job.detectors)
    return replace(make_scan(), num_classes=len(vector), evidence=evidence)"""
    scan = ran(replace(job, declared=replace(job.declared, num_classes=50_000)), script, body)
    vector = tuple(1 / (3 + k) for k in range(50_000))
    assert scan.evidence[2] == Measured("neural_cleanse", vector, vector, True, side=4)


@pytest.mark.parametrize("name", ["RefusedError", "UsageError", "UnmeasuredError"])
def test_a_gate_error_comes_back_as_itself(job: Job, script: Script, name: str) -> None:
    families = {"RefusedError": RefusedError, "UsageError": UsageError, "UnmeasuredError": UnmeasuredError}
    with pytest.raises(families[name], match=r"model\.pt2: pt2: rule; do this"):
        ran(job, script, f"raise {name}('pt2: rule', where='model.pt2', hint='do this')")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('x\\x1b\\ny' * 500)", r"^scanner failed: KeyError: 'x\\x1b"),
        ("raise MemoryError", "^out of memory"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried')", "^out of memory"),
        ("raise RuntimeError('CUDA out of memory. Tried to')", "^out of memory"),
        ("return bytearray(job.limits.memory)", "^out of memory"),
        ("raise SystemExit(0)", r"^scanner process died|^no result"),
        ("return None", "^scanner failed: AttributeError"),
        ("def f(): f()\n    f()", "^scanner failed: RecursionError"),
    ],
)
def test_any_other_failure_is_missing_evidence(job: Job, script: Script, body: str, message: str) -> None:
    with pytest.raises(WorkerError, match=message) as caught:
        ran(job, script, body)
    assert caught.value.hint
    assert len(caught.value.what) <= 300
    assert caught.value.what.isprintable()


def test_starting_up_counts_against_the_time(job: Job, script: Script) -> None:
    with pytest.raises(RefusedError) as caught:
        ran(job, script, "raise RefusedError(repr(job.limits.seconds))")
    assert 10 < float(caught.value.what) < job.limits.seconds


def test_the_limits_hold_in_the_child(job: Job, script: Script) -> None:
    body = """
    names = ("CORE", "NOFILE", "FSIZE", "AS")
    limits = [resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names]
    dumpable = __import__("ctypes").CDLL(None).prctl(3, 0, 0, 0, 0)
    raise RefusedError(repr((limits, dumpable)))
    """
    with pytest.raises(RefusedError) as caught:
        ran(job, script, body.strip())
    limits, dumpable = eval(caught.value.what)
    assert limits == [(0, 0), (256, 256), (16 << 20, 16 << 20), (8 << 30, 8 << 30)]
    assert dumpable == 0


def test_torch_trains_within_the_default_limit_and_not_beyond_it(job: Job, script: Script) -> None:
    body = """
    import torch
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten())
    network(torch.rand(32, 3, 32, 32, requires_grad=True)).sum().backward()
    report(Progress(0, 1, 1, (0, 0)))
    torch.zeros(job.limits.memory)
    """
    heard: list[Progress] = []
    with pytest.raises(WorkerError, match=r"^out of memory"):
        # The build of torch for CUDA takes 3 GiB of address space by itself.
        ran(replace(job, limits=replace(job.limits, memory=4 << 30)), script, body.strip(), heard)
    assert len(heard) == 1


def test_too_little_memory_to_import_torch_is_out_of_memory(job: Job, script: Script) -> None:
    tight = replace(job, limits=replace(job.limits, memory=400 << 20))
    with pytest.raises(WorkerError, match=r"^out of memory"):
        ran(tight, script, "import torch; return make_scan()")


def test_explain_keeps_what_explains_itself() -> None:
    error = RefusedError("x")
    assert explain(error) is error


@pytest.mark.skipif(importlib.util.find_spec("backdoor_gate.scan") is None, reason="the scan package is not here")
def test_the_installed_child_answers(job: Job) -> None:
    """The real command, on a candidate that is not there: whatever it says, it says in the channel's words."""
    with pytest.raises((RefusedError, UnmeasuredError, UsageError)) as caught:
        launch.run(job, lambda _: None)
    assert "died" not in caught.value.what


def test_the_libraries_of_a_gpu_are_loaded_before_the_doors_close(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for halves in (True, False):
        monkeypatch.setattr(precision, "has_instructions", lambda _, halves=halves: halves)
        with pretended.usable() as device, pretended.counted() as counts:
            monkeypatch.setattr(machine, "choose_device", lambda _, device=device: device)
            assert main._start_gpu()
        ran[halves] = counts.operators
    assert ran[True] > ran[False] > 5  # in bfloat16 where the GPU has it, too: its kernels are others


def test_without_a_gpu_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not main._start_gpu()
