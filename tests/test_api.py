"""The gate as a function: lazy, and the same answers as the command's."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support import tiny_network

import backdoor_gate
from backdoor_gate import Verdict, audit_model
from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.errors import UsageError
from backdoor_gate.policy import load

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
version: 1
model:
  architecture: flat_network:build
  architecture_path: nets
  input: {shape: [1, 8, 8]}
  num_classes: 10
detectors: {max_margin: {restarts: 1, steps: 5}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("nets", "model", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "nets" / "flat_network.py").write_text(tiny_network.SOURCE)
    (tmp_path / "model" / "m.safetensors").write_bytes(tiny_network.weights(0))
    return tmp_path


def test_the_function_says_what_the_command_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = audit_model(folder / "model", policy=folder / "policy.yaml", device="cpu")
    assert report.decision.verdict is Verdict.PASS
    assert exits.run(root, ("scan", "model", "--policy=policy.yaml", "--device=cpu", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    (detector,) = report.decision.detectors
    assert said["detectors"][0]["anomaly_index"] == pytest.approx(detector.anomaly_index)
    assert said["candidate"]["digest"] == (report.candidate and report.candidate.digest)
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "model", "nets", "policy.yaml"]


def test_arrays_are_clean_data(folder: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    report = audit_model(
        "model", policy=load(folder / "policy.yaml"), data=(images, [0, 1, 2, 3, 4] * 20), device="cpu"
    )
    assert report.scan is not None
    assert (report.scan.data.kind, report.scan.data.images) == ("clean", 100)
    assert report.data_digest is not None


def test_failures_are_reports(folder: Path) -> None:
    assert folder.is_dir()
    assert audit_model("empty").decision.verdict is Verdict.REFUSED
    lost = audit_model("models:/digits/1", tracking_uri="sqlite:///none.db")
    assert lost.decision.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "none.yaml"},
        {"budget": "soon"},
        {"budget": "0s"},
        {"device": "tpu"},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 0.5},
        {"data": "none.npz"},
        {"data": ""},
    ],
)
def test_wrong_calls_are_raised(folder: Path, wrong: dict[str, object]) -> None:
    assert folder.is_dir()
    with pytest.raises(UsageError):
        audit_model("model", **wrong)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import backdoor_gate, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "mlflow", "numpy", "pydantic"} & {name.partition(".")[0] for name in done.stdout.split()}
    code = "from backdoor_gate import audit_model; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "mlflow"} & {name.partition(".")[0] for name in done.stdout.split()}


def test_other_names_are_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = backdoor_gate.nothing
    assert set(backdoor_gate.__all__) == {"AuditReport", "Verdict", "__version__", "audit_model"}
    assert all(getattr(backdoor_gate, name) for name in backdoor_gate.__all__)
