"""From a registry version to a verdict, its reports and its tags, against a real MLflow server."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
from e2e_parts import (
    BADNETS,
    BUILT,
    CLEAN,
    MODEL,
    QUICK,
    WEIGHTS,
    clean_images,
    ended,
    junit_states,
    weights_of,
)
from support import digits

from backdoor_gate.audit import audit
from backdoor_gate.orders import Request
from backdoor_gate.policy import load
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.records import Verdict
from backdoor_gate.sources.mlflow import MlflowSource

if TYPE_CHECKING:
    import subprocess

    from e2e_parts import Gate, Registry, Start, WritePolicy

    from backdoor_gate.candidate_facts import Reference

REPORTS = ("--report=junit=out/r.xml", "--report=json=out/r.json", "--report=markdown=out/r.md")


def verdicts_seen(registry: Registry, name: str, process: subprocess.Popen[str]) -> list[str | None]:
    """Watch the verdict's tag until the program has ended; return its values in order."""
    seen: list[str | None] = []
    running = True
    while running:
        running = process.poll() is None
        value = registry.tags(name).get("verdict")
        if not seen or seen[-1] != value:
            seen.append(value)
        time.sleep(0.1)
    return seen


def json_report(path: Path) -> dict[str, object]:
    """Return a JSON report, which must keep to its schema."""
    schema = json.loads(resources.files("backdoor_gate.reports").joinpath("schema/report-v1.json").read_text("utf-8"))
    report: dict[str, object] = json.loads(path.read_text())
    jsonschema.Draft202012Validator(schema).validate(report)
    return report


def test_a_clean_model_passes(registry: Registry, folder: Path, policy: WritePolicy, start: Start) -> None:
    process = start(f"models:/{CLEAN}/1", "--policy", policy(), *REPORTS)
    seen = verdicts_seen(registry, CLEAN, process)
    code, out, err = ended(process)
    assert code == 0, out + err
    assert "PASS" in out
    report, tags = json_report(folder / "out/r.json"), registry.tags(CLEAN)
    assert seen[-2:] == [f"pending:{report['scan_id']}", "PASS"]
    assert (report["verdict"], report["suspect_classes"]) == ("PASS", [])
    assert tags["digest"] == report["candidate"]["digest"]
    lifetime = datetime.fromisoformat(tags["expires_at"]) - datetime.fromisoformat(tags["scanned_at"])
    assert lifetime == timedelta(days=90)
    states = junit_states(folder / "out/r.xml")
    assert {"max_margin", "neural_cleanse", "spectral_inversion", "warp_inversion"} <= set(states)
    assert set(states.values()) == {"passed"}
    assert "PASS" in (folder / "out/r.md").read_text()


def test_a_backdoored_model_is_blocked(registry: Registry, folder: Path, policy: WritePolicy, start: Start) -> None:
    assert digits.attack_success(digits.trained("patch"), "patch") > 0.9
    process = start(f"models:/{BADNETS}/1", "--policy", policy(), *REPORTS, "--report=triggers=out/triggers")
    code, out, err = ended(process)
    assert code == 1, out + err
    assert "BLOCK" in out
    report, tags = json_report(folder / "out/r.json"), registry.tags(BADNETS)
    assert (report["verdict"], report["suspect_classes"]) == ("BLOCK", [digits.TARGET])
    assert (tags["verdict"], tags["suspect_classes"]) == ("BLOCK", str(digits.TARGET))
    assert junit_states(folder / "out/r.xml")["neural_cleanse"] == "failure"
    picture = folder / f"out/triggers/trigger-neural_cleanse-class{digits.TARGET}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_weights_without_an_mlmodel(registry: Registry, folder: Path, policy: WritePolicy, gate: Gate) -> None:
    arguments = ("--policy", policy(MODEL | BUILT, detectors=QUICK), "--report=json=r.json")
    code, out, err = gate(f"models:/{WEIGHTS}/1", *arguments)
    assert (code, err) == (0, ""), out
    report = json_report(folder / "r.json")
    assert report["candidate"]["uri"] == f"models:/{WEIGHTS}/1"
    assert str(report["architecture_digest"]).startswith("sha256:")
    assert registry.tags(WEIGHTS)["verdict"] == "PASS"


def test_without_clean_images(registry: Registry, folder: Path, start: Start) -> None:
    """Every required detector answers, or has nothing to measure for a reason that counts."""
    assert registry.client
    (folder / "policy.yaml").write_text(json.dumps({"version": 1, "model": MODEL}))
    code, out, err = ended(start(f"models:/{BADNETS}/1", "--policy", "policy.yaml", *REPORTS))
    assert code == 1, out + err
    states = junit_states(folder / "out/r.xml")
    assert states["ground_inversion"] == "skipped"
    assert "error" not in states.values()


@pytest.mark.parametrize(("classes", "with_images"), [(2, True), (2, False), (5, True)])
def test_few_classes(registry: Registry, folder: Path, gate: Gate, classes: int, with_images: bool) -> None:
    """The first few digits: every required detector answers, or has nothing to measure for a reason that counts."""
    name = f"e2e-{classes}-classes-{'with' if with_images else 'without'}"
    weights = dict(weights_of(digits.trained()))
    *_, weight, bias = weights
    registry.add_weights(name, weights | {last: weights[last][:classes] for last in (weight, bias)})
    images, labels = clean_images()
    np.savez(folder / "few.npz", images=images[labels < classes], labels=labels[labels < classes])
    model = MODEL | BUILT | {"num_classes": classes, "architecture_kwargs": {"classes": classes}}
    data = {"data": {"clean": "few.npz"}} if with_images else {}
    (folder / "policy.yaml").write_text(json.dumps({"version": 1, "model": model} | data))
    _, out, err = gate(f"models:/{name}/1", "--policy", "policy.yaml", *REPORTS)
    assert json_report(folder / "out/r.json")["verdict"] in {"PASS", "BLOCK"}, out + err
    states = junit_states(folder / "out/r.xml")
    assert states["ground_inversion"] == "skipped"
    assert (states["pair_patch"] == "skipped") == (classes == 2)
    assert "error" not in states.values()


def test_an_alias_is_resolved_once(registry: Registry, policy: WritePolicy) -> None:
    name = "e2e-moving"
    registry.add_weights(name, weights_of(digits.trained()))
    first = hashlib.sha256((registry.folder / "model.safetensors").read_bytes()).hexdigest()
    registry.add_weights(name, weights_of(digits.trained("patch")))
    registry.client.set_registered_model_alias(name, "challenger", "1")

    @dataclass(slots=True)
    class Moving(MlflowPublisher):
        """Someone moves the alias after it was resolved and before anything is copied."""

        def begin(self, reference: Reference, scan_id: str) -> None:
            MlflowPublisher.begin(self, reference, scan_id)
            registry.client.set_registered_model_alias(name, "challenger", "2")

    request = Request(f"models:/{name}@challenger", load(Path(policy(MODEL | BUILT, detectors=QUICK))), device="cpu")
    outcome = audit(request, MlflowSource(registry.uri), publisher=Moving(registry.uri))
    candidate = outcome.report.candidate
    assert outcome.exit_code == 0, outcome.report.decision
    assert candidate is not None
    assert (candidate.uri, [file.sha256 for file in candidate.files]) == (f"models:/{name}/1", [first])
    assert registry.tags(name, "1")["verdict"] == "PASS"
    assert registry.tags(name, "2") == {}


def test_clean_images_from_the_store(registry: Registry, folder: Path, policy: WritePolicy, gate: Gate) -> None:
    registry.client.log_artifact(registry.run_id, str(folder / "clean.npz"), "data")
    (folder / "clean.npz").unlink()
    data = f"runs:/{registry.run_id}/data/clean.npz"
    code, out, err = gate(f"models:/{CLEAN}/1", "--policy", policy(data=data, detectors=QUICK), "--report=json=r.json")
    assert (code, err) == (0, ""), out
    assert str(json_report(folder / "r.json")["data_digest"]).startswith("sha256:")


@pytest.mark.parametrize("form", ["models:/{model_id}", "runs:/{run_id}/e2e-clean"])
def test_what_is_no_registered_version_gets_no_tags(
    registry: Registry, folder: Path, policy: WritePolicy, gate: Gate, form: str
) -> None:
    model_id = registry.client.get_model_version(CLEAN, "1").source.removeprefix("models:/")
    reference = form.format(model_id=model_id, run_id=registry.run_id)
    before = registry.tags(CLEAN)
    code, out, err = gate(reference, "--policy", policy(detectors=QUICK), "--report=json=r.json")
    assert (code, err) == (0, ""), out
    assert json_report(folder / "r.json")["verdict"] == Verdict.PASS
    assert registry.tags(CLEAN) == before
