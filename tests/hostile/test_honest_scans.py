"""The lock-down stands in no honest scan's way: every format, both forms of clean data, folders and the registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from locked import Target, why_not
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from backdoor_gate.catalogue import DetectorPlan
from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.records import Architecture, Declared, Inconclusive, Job, Limits, Measured
from backdoor_gate.worker import bubblewrap, launch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = 4
NETWORK = """\
from torch import nn
def build():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 4))
"""
POLICY = """\
version: 1
model:
  architecture: tiny:build
  architecture_path: checkout
  num_classes: 4
  input: {shape: [1, 8, 8]}
data: {clean: clean.npz}
detectors: {max_margin: {restarts: 1, steps: 5}, final_layer: {}}
"""
pytestmark = pytest.mark.skipif(bool(why_not("B")), reason=why_not("B") or "-")


def pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return grey noise with a bright corner, which is the class, (N, 8, 8, 1), and the labels (N,)."""
    images, labels = np.random.default_rng(0).integers(0, 100, (40, 8, 8, 1), dtype=np.uint8), np.arange(40) % CLASSES
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += 150
    return images, labels


def learnt(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> nn.Sequential:
    """Return a network that gets them right."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, CLASSES))
    x, y = torch.from_numpy(images).permute(0, 3, 1, 2) / 255, torch.from_numpy(labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates, clean data, and the checkout with the architecture, which holds a credential too."""
    folder = tmp_path_factory.mktemp("honest")
    for name in ("checkout/.git", "safetensors", "state_dict", "pt2"):
        (folder / name).mkdir(parents=True)
    (folder / "checkout" / "tiny.py").write_text(NETWORK)
    (folder / "checkout" / ".git" / "config").write_text("token")
    (folder / "policy.yaml").write_text(POLICY)
    torch.manual_seed(0)
    images, labels = pictures()
    model = learnt(images, labels)
    save_file(model.state_dict(), folder / "safetensors" / "model.safetensors")
    torch.save(model.state_dict(), folder / "state_dict" / "model.pth")
    free = {0: torch.export.Dim("batch", min=2, max=4096)}
    exported = torch.export.export(model, (torch.rand(4, 1, 8, 8),), dynamic_shapes=(free,))
    torch.export.save(exported, folder / "pt2" / "model.pt2")
    np.savez(folder / "clean.npz", images=images, labels=labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "tree" / str(label) / f"{number}.{'jpg' if number % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path)
    return folder


def job(place: Path, kind: str, data: str) -> Job:
    plans = (
        DetectorPlan("max_margin", required=True, settings={"restarts": 1, "steps": 2}),
        DetectorPlan("neural_cleanse", required=True, settings={"steps": 10, "images": 2, "classes": 100}),
        DetectorPlan("final_layer", required=False, settings={}),
    )
    return Job(
        candidate=place / kind,
        formats=(kind,),
        declared=Declared(num_classes=CLASSES, shape=(1, 8, 8)),
        signature=None,
        architecture=None if kind == "pt2" else Architecture("tiny:build", place / "checkout", (), ""),
        data=place / data,
        max_images=40,
        detectors=plans,
        device="cpu",
        seed=0,
        limits=Limits(60, 4 << 30),
    )


@pytest.mark.parametrize(
    ("kind", "data", "tier"),
    [
        ("safetensors", "clean.npz", "B"),
        ("state_dict", "tree", "B"),
        ("pt2", "clean.npz", "B"),
        ("pt2", "tree", "A"),
    ],
)
def test_an_honest_scan_is_measured(
    place: Path, kind: str, data: str, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    if tier == "B":
        monkeypatch.setattr(bubblewrap, "program", lambda: None)
    scan = launch.run(job(place, kind, data), lambda _: None, minimum=tier)
    assert scan.runtime.isolation == tier
    assert [e.reason for e in scan.evidence if isinstance(e, Inconclusive)] == []
    assert all(isinstance(evidence, Measured) for evidence in scan.evidence)
    assert scan.data.images == 40
    assert 64 << 20 < scan.peak_memory < 4 << 30


@pytest.mark.parametrize("where", ["folder", "registry"])
def test_a_scan_by_command_reaches_the_usual_tier(
    place: Path, where: str, sqlite_registry: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(place / "safetensors")
    if where == "registry":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_registry)
        model = registered(sqlite_registry, place / "safetensors" / "model.safetensors")
    report = place / f"{where}.json"
    arguments = ("scan", model, "--policy", str(place / "policy.yaml"), "--report", f"json={report}", "--no-publish")
    code = exits.run(root, arguments)
    written = json.loads(report.read_text())
    assert written["tool"]["isolation"] in {"A", "B"}, capsys.readouterr().err
    assert {detector["status"] for detector in written["detectors"]} == {"measured"}
    assert code in {0, 1, 4}


def registered(uri: str, weights: Path) -> str:
    """Put the weights into a registry the way that works without MLflow's own format; return the reference."""
    from mlflow import MlflowClient  # noqa: PLC0415

    client = MlflowClient(uri, uri)
    run = client.create_run("0")
    client.log_artifact(run.info.run_id, str(weights), "weights")
    client.create_registered_model("locked")
    source = f"{run.info.artifact_uri}/weights"
    version = client.create_model_version("locked", source=source, run_id=run.info.run_id)
    return f"models:/locked/{version.version}"


# ------------------------------------------------------------------------------------- where the tier is out of reach


def test_a_tier_that_cannot_be_had_is_inconclusive(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "program", lambda: None)
    strict = place / "strict.yaml"
    strict.write_text(POLICY + "limits: {isolation: A}\n")
    report = place / "strict.json"
    code = exits.run(root, ("scan", str(place / "safetensors"), "--policy", str(strict), "--report", f"json={report}"))
    rule = "sandbox unavailable: no bubblewrap: not installed; policy needs tier A"
    assert code == 4
    assert json.loads(report.read_text())["verdict"] == "INCONCLUSIVE"
    assert rule in json.loads(report.read_text())["reasons"][0]
    assert "sandbox unavailable" in capsys.readouterr().out.replace("\n", " ")


def test_threads_work_behind_everything(target: Target) -> None:
    threads, of_process = target.attack("B", ["compute"], minimum="B")["compute"]
    assert threads == 2
    assert of_process >= 2
