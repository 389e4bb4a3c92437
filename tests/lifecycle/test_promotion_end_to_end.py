"""Scan, verify and promote against a real MLflow server, as commands; and what happens when things move or die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support import tiny_network
from support.promotion import POLICY, Pipeline
from support.tiny_network import weights

from backdoor_gate.audit import audit
from backdoor_gate.errors import NotVerifiedError, OutputError
from backdoor_gate.lifecycle.verify import verify
from backdoor_gate.orders import Request
from backdoor_gate.publishers.attestation.signer import Signer
from backdoor_gate.publishers.mlflow import MlflowPublisher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backdoor_gate.candidate_facts import Reference

    Gate = Callable[..., tuple[int, str, str]]

QUICK = POLICY.replace("data: {clean: clean.npz}\n", "detectors: {max_margin: {restarts: 1, steps: 5}}\n")


@pytest.fixture
def served(mlflow_server: str, tmp_path: Path) -> Pipeline:
    """A pipeline on a real server, with a policy whose scans take a second."""
    pipeline = Pipeline(mlflow_server, tmp_path)
    (tmp_path / "policy.yaml").write_text(QUICK)
    assert tiny_network.SOURCE in (tmp_path / "nets" / "tiny.py").read_text()
    return pipeline


@pytest.fixture
def gate(served: Pipeline, program: Gate) -> Gate:
    """Call a command with the pipeline's policy and registry; returns exit code, standard output and standard error."""

    def call(command: str, model: str, *options: str) -> tuple[int, str, str]:
        policy = f"--policy={served.folder / 'policy.yaml'}"
        return program(command, model, policy, f"--tracking-uri={served.uri}", *options)

    return call


def test_from_the_scan_to_the_alias_and_no_further(served: Pipeline, gate: Gate, name: str) -> None:
    reference = served.register(name, weights(0))
    uri, file = reference.uri, served.folder / "out" / "statement.json"
    code, out, err = gate("verify", uri)
    assert (code, out) == (6, "")
    assert err.startswith(f"error: {uri}: no verdict: it was never scanned")
    code, out, err = gate("scan", uri, "--quiet", "--device=cpu", f"--statement={file}")
    assert (code, err) == (0, ""), out
    envelope = file.read_text().rstrip("\n")
    assert served.tags(reference)["backdoor_gate.statement"] == envelope
    assert json.loads(envelope)["signatures"][0]["keyid"] == served.key.public.id
    code, out, err = gate("verify", uri)
    assert (code, err) == (0, "")
    assert out.startswith(f"{uri}: verified\n  verdict     PASS of ")
    assert f"  signed by   {served.key.public.id} (" in out
    assert gate("verify", uri, f"--statement={file}")[0] == 0
    assert served.alias(reference, "champion") is None
    code, out, _ = gate("promote", uri, "--alias=champion")
    assert (code, out.splitlines()[0]) == (0, f"{uri}: verified, and now @champion")
    assert served.alias(reference, "champion") == "1"
    assert gate("verify", f"models:/{name}@champion")[0] == 0

    served.client.copy_model_version(uri, f"{name}-copy")
    code, _, err = gate("promote", f"models:/{name}-copy/1", "--alias=champion")
    assert code == 6
    assert f"the statement is about {uri}, not about this version" in err

    served.overwrite(uri, weights(1))
    assert served.tags(reference)["backdoor_gate.verdict"] == "PASS"
    for options in (["verify", uri], ["promote", uri, "--alias=production"], ["verify", uri, f"--statement={file}"]):
        code, out, err = gate(*options)
        assert (code, out) == (6, "")
        assert err.startswith(f"error: {uri}: digest mismatch: scanned sha256:")
    assert served.alias(reference, "production") is None


def test_an_alias_that_moves_while_a_scan_runs(served: Pipeline, gate: Gate, name: str) -> None:
    scanned, other = served.register(name, weights(0)), served.register(name, weights(1))
    served.registry.point(scanned, "challenger", "1")
    model = f"models:/{name}@challenger"
    publisher = MlflowPublisher(served.uri, sign=Signer(served.key))
    moves = [lambda: served.registry.point(other, "challenger", "2")]
    outcome = audit(
        Request(model, served.policy, device="cpu"),
        served.source,
        publisher=publisher,
        on_progress=lambda _: moves.pop()() if moves else None,
    )
    assert (outcome.exit_code, moves) == (0, [])
    assert served.tags(scanned)["backdoor_gate.verdict"] == "PASS"
    assert served.tags(other) == {}
    code, _, err = gate("promote", model, "--alias=champion")
    assert code == 6
    assert err.startswith(f"error: models:/{name}/2: no verdict")
    assert gate("promote", f"models:/{name}/1", "--alias=champion")[0] == 0
    assert served.alias(scanned, "champion") == "1"


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["promote", "models:/absent/1", "--alias=champion"], 4, "not in the registry|the registry has no version 1"),
        (["verify", "models:/absent@champion"], 4, "the registry has no|not in the registry"),
        (["promote", "models:/absent/1", "--alias=v1"], 2, "not an alias: 'v1'"),
        (["promote", "models:/absent/1"], 2, "Missing option '--alias'"),
        (["promote", "nets", "--alias=champion"], 2, "only registry versions can be promoted"),
        (["verify", "models:/absent/1", "--statement=none.json"], 2, "none.json: cannot be read"),
        (["verify", "models:/absent/latest"], 2, "is not a version number"),
    ],
)
def test_calls_that_cannot_be_answered(gate: Gate, options: list[str], code: int, line: str) -> None:
    ended, out, err = gate(*options)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert any(part in err for part in line.split("|"))


def test_an_unreachable_registry_is_four(gate: Gate) -> None:
    for command in (["verify", "models:/digits/1"], ["promote", "models:/digits/1", "--alias=champion"]):
        code, out, err = gate(*command, "--tracking-uri=http://127.0.0.1:9")
        assert (code, out) == (4, "")
        assert "registry unreachable" in err


# ---------------------------------------------------------------------------------------------- dying, and racing


class _DiesAt(MlflowPublisher):
    """Stops for good before its n-th write."""

    left = 0

    def _set(self, reference: Reference, key: str, value: str) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        super()._set(reference, key, value)


def test_a_gate_that_dies_at_any_write_leaves_no_pass(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    passed = pipeline.passed(reference)
    report = pipeline.publish(reference, decision=replace(passed.decision, detectors=()))
    steps = 0
    while True:
        publisher = _DiesAt(pipeline.uri, sign=Signer(pipeline.key))
        publisher.left = steps
        try:
            publisher.begin(reference, report.scan_id)
            publisher.finish(reference, report)
        except KeyboardInterrupt:
            pass
        else:
            break
        if steps:  # before the very first write, the older verdict stands
            with pytest.raises(NotVerifiedError, match="pending: scan 0123456789abcdef has not finished"):
                verify(reference, pipeline.claim, pipeline.source, pipeline.registry)
        steps += 1
    assert steps == 11
    assert verify(reference, pipeline.claim, pipeline.source, pipeline.registry).statement.verdict == "PASS"


GATE = """\
import sys
from pathlib import Path
from backdoor_gate.errors import GateError
from backdoor_gate.publishers.attestation import keys
from backdoor_gate.publishers.attestation.signer import Signer
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.candidate_facts import Reference
import pickle
uri, model, scan_id = sys.argv[1:]
reference = Reference(model, model, model.split("/")[1], "1")
publisher = MlflowPublisher(uri, sign=Signer(keys.load_private("gate.key")))
report = pickle.loads(Path(scan_id).read_bytes())
try:
    print("ready", flush=True)
    sys.stdin.readline()
    publisher.begin(reference, scan_id)
    print("begun", flush=True)
    sys.stdin.readline()
    publisher.finish(reference, report)
except GateError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def test_two_gates_on_one_version_and_one_that_is_killed(served: Pipeline, name: str) -> None:
    import pickle  # noqa: PLC0415

    reference = served.register(name)
    for scan_id in ("first", "second", "third"):
        report = served.passed(reference, scan_id=scan_id, data_digest=None)
        (served.folder / scan_id).write_bytes(pickle.dumps(report))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GATE, served.uri, reference.uri, scan_id],
            cwd=served.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for scan_id in ("first", "second", "third")
    ]
    try:
        killed, *racing = processes[::-1]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        step(killed)
        assert killed.stdout
        assert killed.stdout.readline() == "begun\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait(20)
        with pytest.raises(NotVerifiedError, match="pending: scan third has not finished"):
            verify(reference, served.claim, served.source, served.registry)
        for process in racing:
            step(process)
        begun = [process for process in racing if process.stdout and process.stdout.readline() == "begun\n"]
        for process in begun:
            step(process)
        codes = {process.args[-1]: process.wait(60) for process in racing}  # type: ignore[index]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sorted(codes.values()) == [0, OutputError.exit_code]
    (winner,) = (scan_id for scan_id, code in codes.items() if code == 0)
    assert served.tags(reference)["backdoor_gate.scan_id"] == winner
    found = verify(reference, served.claim, served.source, served.registry)
    assert found.statement.scan_id == winner


def step(process: subprocess.Popen[str]) -> None:
    """Let a gate go on."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
