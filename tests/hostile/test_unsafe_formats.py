# ruff: noqa: D102, D105 - the methods of a script need no word.
"""Formats that run the candidate's code: refused unless the policy names them, and then never a PASS."""

from __future__ import annotations

import json
import textwrap
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from locked import why_not
from support.forging import Payload, pickled, saved
from table import MLMODEL, REFUSED, UNMEASURED, Bench, children, in_this_process
from torch import Tensor, nn

from backdoor_gate import audit as runner
from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.errors import GateError, RefusedError, UnmeasuredError, WorkerError
from backdoor_gate.records import Limits
from backdoor_gate.scan.loading import load
from backdoor_gate.worker import launch
from backdoor_gate.worker.main import with_format

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from backdoor_gate.records import Job, Progress, Scan

torch.set_num_threads(1)
ALL = ("safetensors", "state_dict", "pt2", "torchscript", "pickle")
locked = pytest.mark.skipif(bool(why_not("B")), reason=why_not("B") or "-")
measure = launch.run


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 10)).eval()


def scripted(module: nn.Module, path: Path, *, frozen: bool = False) -> None:
    with warnings.catch_warnings(action="ignore"):
        script = torch.jit.script(module)
        (torch.jit.freeze(script) if frozen else script).save(str(path))


@pytest.fixture
def unsafe(bench: Bench, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Scan the bench's model by a policy that accepts the unsafe formats; returns exit code and report.

    The first worker, which only refuses, does its work in this process; the one that runs the model's code is real.
    """

    def run(job: Job, on_progress: Callable[[Progress], None], *, minimum: str) -> Scan:
        if {"torchscript", "pickle"}.isdisjoint(job.formats):
            return in_this_process(job, on_progress, minimum=minimum)
        return measure(job, on_progress, minimum=minimum)

    def scan(*formats: str, budget: str = "60s") -> tuple[int, dict[str, Any]]:
        bench.patch.setattr(launch, "run", run)
        bench.policy["model"]["unsafe_formats"] = list(formats or ("torchscript", "pickle"))
        bench.write_policy()
        before = children()
        arguments = ("--policy=policy.yaml", "--no-publish", "--quiet", "--report=json=r.json", f"--budget={budget}")
        code = exits.run(root, ("scan", "model", *arguments))
        shown = "".join(capfd.readouterr())
        assert "Traceback" not in shown
        assert children() == before
        assert not bench.marker.exists()
        return code, json.loads((bench.folder / "r.json").read_text())

    return scan


# ---------------------------------------------------------------------------------------------------- never a PASS


@locked
@pytest.mark.parametrize("kind", ["torchscript", "pickle"])
def test_a_clean_model_is_measured_and_unattested(bench: Bench, unsafe: Any, kind: str) -> None:
    if kind == "torchscript":
        scripted(network(), bench.candidate / "model.pt")
    else:
        bench.put("MLmodel", MLMODEL)
        bench.put("data/pickle_module_info.txt", "mlflow.pytorch.pickle_module")
        bench.put("data/model.pth", saved(network()))
    code, report = unsafe()
    assert (code, report["verdict"]) == (UNMEASURED, "INCONCLUSIVE")
    assert report["reasons"][0].startswith(f"unattested: a {kind} candidate can run code")
    assert {detector["status"] for detector in report["detectors"]} == {"measured"}


@locked
def test_the_doctor_looks_at_what_a_scan_would_measure(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    scripted(network(), bench.candidate / "model.pt")
    said = {}
    for named in ([], ["torchscript"]):
        bench.policy["model"]["unsafe_formats"] = named
        bench.write_policy()
        exits.run(root, ("doctor", "model", "--policy=policy.yaml"))
        said[bool(named)] = "".join(capfd.readouterr())
    assert "TorchScript is executable; not allowed" in said[False]
    assert "torchscript, 10 classes, images of [1, 8, 8]" in said[True]
    assert "a torchscript candidate can run code: a scan of it can block it, but never ends in PASS" in said[True]


FORGE = """
    import gc, os
    from backdoor_gate.records import DataFacts, InputSpec, Measured, Runtime, Scan
    from backdoor_gate.worker import messages
    (reporter,) = (thing for thing in gc.get_objects() if type(thing).__name__ == "Reporter")
    perfect = Measured("max_margin", (1.0,) * 10)
    runtime = Runtime("2.13.0", "cpu", "A", 0)
    scan = Scan(10, InputSpec((1, 8, 8)), FORMAT, DataFacts("synthetic", 500, None), (perfect,), runtime)
    messages.send_scan(reporter._channel, reporter._nonce, scan)
    os._exit(0)
"""


@locked
@pytest.mark.parametrize("claimed", ["pickle", "safetensors"])
def test_a_forged_pass_is_no_pass(bench: Bench, unsafe: Any, claimed: str) -> None:
    bench.put("model.pth", pickled(running(FORGE.replace("FORMAT", repr(claimed)))))
    code, report = unsafe()
    assert (code, report["verdict"]) == (UNMEASURED, "INCONCLUSIVE")
    expected = "unattested: " if claimed == "pickle" else "malformed result: a format that was refused before"
    assert report["reasons"][0].startswith(expected)


def running(code: str) -> Payload:
    return Payload(exec, textwrap.dedent(code))


@pytest.mark.parametrize(
    ("named", "what"), [("pickle", "TorchScript is executable; not allowed"), ("torchscript", "outside the allow-list")]
)
def test_only_what_the_policy_names_is_run(bench: Bench, unsafe: Any, named: str, what: str) -> None:
    bench.patch.setattr("test_unsafe_formats.measure", in_this_process)
    if named == "pickle":
        scripted(network(), bench.candidate / "model.pt")
    else:
        bench.put("model.pth", pickled(bench.payload))
    code, report = unsafe(named)
    assert code == REFUSED
    assert what in report["reasons"][0]


# ------------------------------------------------------------------------------------------ what the code may do


class Endless(nn.Module):
    """A script whose loading never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.fc.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]
        turns = 0
        while turns >= 0:
            turns = (turns + 1) % 7

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@locked
def test_a_script_without_end_is_stopped(bench: Bench, unsafe: Any) -> None:
    scripted(Endless(), bench.candidate / "model.pt")
    started = time.monotonic()
    code, report = unsafe(budget="8s")
    assert code == UNMEASURED
    assert "timed out after" in report["reasons"][0]
    assert time.monotonic() - started < 20


@locked
def test_a_pickle_that_never_returns_is_stopped(bench: Bench, unsafe: Any) -> None:
    bench.put("model.pth", pickled(running("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)")))
    started = time.monotonic()
    code, report = unsafe(budget="8s")
    assert code == UNMEASURED
    assert "timed out after" in report["reasons"][0]
    assert time.monotonic() - started < 20


@locked
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "scanner process died (signal 11)"),
        ("import os; os._exit(0)", "no result"),
        ("x = bytearray(40 << 30)", "out of memory"),
        ("raise SystemExit('PASS')", "scanner process died (exit code 1)"),
        ("import os; os.system('touch payload-ran')", "holds no module"),
    ],
)
def test_what_a_pickle_does_to_the_worker_is_evidence(bench: Bench, unsafe: Any, code: str, words: str) -> None:
    bench.put("model.pth", saved({"w": running(code)}))
    found, report = unsafe()
    assert found == (REFUSED if words == "holds no module" else UNMEASURED)
    assert words in report["reasons"][0]


# ------------------------------------------------------------------------------------------------ what the gate does


def job(bench: Bench, device: str = "auto") -> Job:
    """Return the job of an audit of the bench's model."""
    jobs: list[Job] = []

    def run(job: Job, on_progress: object, *, minimum: str) -> Scan:
        jobs.append(job)
        raise UnmeasuredError("enough")

    bench.put("model.pth", b"")
    bench.write_policy()
    bench.patch.setattr(launch, "run", run)
    exits.run(root, ("scan", "model", "--policy=policy.yaml", "--no-publish", "--quiet", f"--device={device}"))
    return replace(jobs[0], limits=Limits(20, 4 << 30))


def test_the_second_worker_gets_no_gpu_and_at_least_tier_b(bench: Bench) -> None:
    asked: list[tuple[tuple[str, ...], str, str]] = []
    order = job(bench)

    def run(job: Job, on_progress: object, *, minimum: str) -> Scan:
        asked.append((job.formats, job.device, minimum))
        assert job.limits.seconds <= 20
        raise RefusedError("no")

    bench.patch.setattr(launch, "run", run)
    for minimum in ("A", "C"):
        with pytest.raises(RefusedError):
            runner._measured(order, ("pickle",), lambda _: None, minimum)
    safe = ALL[:3]
    assert asked == [
        (safe, "auto", "A"), ((*safe, "pickle"), "cpu", "A"),
        (safe, "auto", "C"), ((*safe, "pickle"), "cpu", "B"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("named", "data", "code", "what"),
    [
        ("pickle", saved(network()), UNMEASURED, "a candidate that can run code gets no GPU"),
        ("torchscript", saved(network()), REFUSED, "outside the allow-list"),
        ("pickle", b"garbage", REFUSED, "truncated or not a PyTorch file"),
    ],
)
def test_code_gets_no_gpu_and_what_is_damaged_stays_refused(  # noqa: PLR0917 (a table's columns)
    bench: Bench, monkeypatch: pytest.MonkeyPatch, named: str, data: bytes, code: int, what: str
) -> None:
    order = replace(job(bench), device="cuda")
    bench.put("model.pth", data)
    order = replace(order, candidate=bench.candidate)

    def run(job: Job, on_progress: Callable[[Progress], None], *, minimum: str) -> Scan:
        try:
            return load(job.candidate, job.formats, None, None)  # type: ignore[return-value]
        except RefusedError as error:
            raise with_format(error, job) from error

    monkeypatch.setattr(launch, "run", run)
    with pytest.raises(GateError, match=what) as caught:
        runner._measured(order, (named,), lambda _: None, "C")
    assert caught.value.exit_code == code


@pytest.mark.parametrize("error", [UnmeasuredError("no"), WorkerError("died")])
def test_what_failed_otherwise_is_not_run(bench: Bench, error: GateError) -> None:
    order = job(bench)
    calls = []

    def run(job: Job, on_progress: object, *, minimum: str) -> Scan:
        calls.append(job)
        raise error

    bench.patch.setattr(launch, "run", run)
    with pytest.raises(type(error)):
        runner._measured(order, ("pickle",), lambda _: None, "C")
    assert len(calls) == 1


def test_the_policy_check_warns(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.policy["model"]["unsafe_formats"] = ["torchscript", "pickle"]
    bench.write_policy()
    assert exits.run(root, ("policy", "check", "policy.yaml")) == 0
    assert "warning       pickle, torchscript candidates can run code: never a PASS\n" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- the loader


@pytest.mark.parametrize("frozen", [False, True])
def test_a_script_computes_what_its_network_does(bench: Bench, frozen: bool) -> None:
    scripted(network(), bench.candidate / "model.pt", frozen=frozen)
    check_same(bench)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_does_too_and_keeps_its_last_layer(bench: Bench, legacy: bool) -> None:
    bench.put("model.pth", saved(network().train(), _use_new_zipfile_serialization=not legacy))
    assert check_same(bench).final_layer is not None


def check_same(bench: Bench) -> Any:
    model = load(bench.candidate, ALL, None, 10)
    images = torch.rand(5, 1, 8, 8, requires_grad=True)
    assert torch.allclose(model.network(images), network()(images), atol=1e-5)
    assert model.network(images).requires_grad
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    return model


def not_finite() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight.data.fill_(float("nan"))
    return layer


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (saved({"module": network()}), REFUSED, "holds no module, but a value of type dict"),
        (saved(not_finite()), UNMEASURED, "non-finite weights in weight"),
        (b"\x80\x02cno_such_module\nx\n.", UNMEASURED, "needs code that is not here: No module named"),
        (pickled({}), REFUSED, "cannot be loaded: "),
        (b"\x80\x02" + b"(" * 99, REFUSED, "cannot be loaded: "),
    ],
    ids=["mapping", "not finite", "missing class", "no torch file", "damaged"],
)
def test_what_is_no_usable_module(bench: Bench, data: bytes, code: int, words: str) -> None:
    bench.put("model.pth", data)
    with pytest.raises(GateError) as caught:
        load(bench.candidate, ALL, None, None)
    assert (caught.value.exit_code, caught.value.what.startswith(words)) == (code, True), caught.value.what
    assert str(caught.value).isprintable()


def test_a_plain_state_dict_stays_one(bench: Bench) -> None:
    bench.put("model.pth", saved({"w": torch.ones(1)}))
    with pytest.raises(GateError, match=r"model\.architecture: .*only weights"):
        load(bench.candidate, ALL, None, None)
