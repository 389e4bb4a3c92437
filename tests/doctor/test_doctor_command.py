"""`doctor` and `policy init MODEL` as a user calls them: real workers, real candidates, real files."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support.small_networks import Plain

from backdoor_gate.policy import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Bench

    Gate = Callable[..., tuple[int, str, str]]

POLICY = """\
version: 1
model:
  architecture: minding:build
  architecture_path: nets
  input:
    shape: [3, 16, 16]
    range: [0, 1]
data: {clean: clean.npz}
"""
BUILT = ("--architecture", "minding:build", "--architecture-path", "nets")


@pytest.fixture
def gate(bench: Bench, program: Gate, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Call the program in a folder with the network, its images and a policy without its normalisation."""
    monkeypatch.chdir(bench.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    bench.data(*bench.images())
    (bench.folder / "policy.yaml").write_text(POLICY)
    return program


def kinds(out: str) -> dict[str, str]:
    return {finding["kind"]: finding["level"] for finding in json.loads(out)["findings"]}


# ---------------------------------------------------------------------------------------------- the machine


def test_the_machine_alone(gate: Gate) -> None:
    code, out, err = gate("doctor", "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith(f"ok    torch {torch.__version__}, device cpu\n")
    assert "no registry is named" in out
    assert out.endswith("\nno problems\n")


def test_a_registry_that_answers_and_one_that_does_not(gate: Gate, sqlite_registry: str) -> None:
    code, out, _ = gate("doctor", "--json", "--tracking-uri", sqlite_registry)
    assert (code, kinds(out)["registry"]) == (0, "ok")
    code, out, _ = gate("doctor", "--json", "--tracking-uri", "sqlite:///none.db")
    assert (code, kinds(out)["registry"]) == (4, "problem")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems offer tier C alone, and a policy asks for no more")
def test_isolation_that_the_policy_asks_for_and_cannot_have(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    from backdoor_gate.worker import bubblewrap  # noqa: PLC0415

    monkeypatch.setattr(bubblewrap, "program", lambda: None)
    with open("policy.yaml", "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write("limits: {isolation: A}\n")
    code, out, _ = gate("doctor", "--policy", "policy.yaml")
    assert code == 4
    assert "problem  policy.yaml:9: limits.isolation: sandbox unavailable: no bubblewrap: not installed" in out


def test_torch_that_loads_unsafely(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    code, out, _ = gate("doctor")
    assert code == 2
    assert "problem  TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD: it turns off PyTorch's safe loading; unset the variable" in out


# ---------------------------------------------------------------------------------------------- a model


def test_a_model_and_the_line_to_change(gate: Gate) -> None:
    code, out, err = gate("doctor", "model", "--policy", "policy.yaml")
    assert (code, err) == (2, "")
    (line,) = [line for line in out.splitlines() if "model.input.normalize" in line]
    assert line.startswith("problem  policy.yaml:5: model.input.normalize: ")
    assert "with normalisation; set normalize: {mean: [" in line
    assert "(the policy's)" in out


def test_the_findings_in_json(gate: Gate) -> None:
    code, out, _ = gate("doctor", "model", "--policy", "policy.yaml", "--json")
    document = json.loads(out)
    assert (code, document["exit_code"]) == (2, 2)
    assert kinds(out)["normalisation"] == "problem"
    first, *others = document["trials"]
    assert (first["mean"], first["reversed"]) == (None, False)
    assert max(trial["accuracy"] for trial in others) > first["accuracy"]


def test_every_class_of_another_order_is_in_json(gate: Gate, bench: Bench) -> None:
    images, labels = bench.images()
    bench.data(images, (labels + 1) % 10)
    code, out, _ = gate("doctor", "model", "--policy", "policy.yaml", "--json")
    assert (code, kinds(out)["class-order"]) == (2, "problem")
    assert json.loads(out)["class_order"] == {str(label): (label - 1) % 10 for label in range(10)}


def test_the_fix_that_is_named_mends_it(gate: Gate, bench: Bench) -> None:
    _, out, _ = gate("doctor", "model", "--policy", "policy.yaml")
    fix = out.partition("set normalize: ")[2].partition("\n")[0]
    path = bench.folder / "policy.yaml"
    path.write_text(POLICY.replace("range: [0, 1]", f"range: [0, 1]\n    normalize: {fix}"))
    code, out, _ = gate("doctor", "model", "--policy", "policy.yaml")
    assert code == 0, out


@pytest.mark.parametrize(
    ("policy", "line", "code"),
    [
        (
            POLICY.replace("minding:build", "minding:built"),
            "policy.yaml:3: model.architecture: module 'minding' has no",
            2,
        ),
        (POLICY.replace("16, 16", "8, 8"), "shape (3, 16, 16), the policy says (3, 8, 8)", 2),
        (
            "version: 1\ndata: {clean: clean.npz}\n",
            "policy.yaml: model.architecture: model.safetensors holds only weights",
            2,
        ),
        (
            POLICY.replace("model:\n", "model:\n  formats: [pt2]\n"),
            "format safetensors is not allowed by the policy",
            3,
        ),
    ],
)
def test_what_ends_an_examination_is_a_finding(gate: Gate, bench: Bench, policy: str, line: str, code: int) -> None:
    (bench.folder / "policy.yaml").write_text(policy)
    ended, out, err = gate("doctor", "model", "--policy", "policy.yaml")
    assert (ended, err) == (code, "")
    assert line in out
    assert out.endswith("\n1 problem\n")


def test_a_policy_that_is_none_judges_nothing(gate: Gate) -> None:
    code, out, err = gate("doctor", "model", "--policy", "none.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("error: none.yaml: cannot be read")


def test_near_chance_points_to_the_doctor(gate: Gate, bench: Bench) -> None:
    images, labels = bench.images()
    bench.data(images, np.random.default_rng(0).permutation(labels))
    (bench.folder / "policy.yaml").write_text(POLICY + "detectors: {max_margin: {restarts: 1, steps: 5}}\n")
    code, out, _ = gate("scan", "model", "--policy", "policy.yaml", "--quiet")
    assert code == 4
    assert "'backdoor-gate doctor MODEL --policy FILE' tries the usual ones" in out


# ---------------------------------------------------------------------------------------------- policy init MODEL


def test_init_of_weights_says_what_is_left(gate: Gate, bench: Bench) -> None:
    code, out, err = gate("policy", "init", "model", "--output", "new.yaml")
    assert (code, err) == (0, "")
    first, left, *rows = out.splitlines()
    assert first.startswith("new.yaml: written for safetensors, 10 classes; check it with ")
    assert left == "Left to you:"
    assert [row.split(":")[0].strip() for row in rows] == ["model.architecture", "model.input.shape", "data.clean"]
    plan = load(bench.folder / "new.yaml").plan_for("model")
    assert (plan.formats, plan.declared.num_classes) == (("safetensors",), 10)


def test_init_finds_the_normalisation_and_the_policy_runs(gate: Gate, bench: Bench) -> None:
    code, out, _ = gate("policy", "init", "model", "--output", "new.yaml", "--data", "clean.npz", *BUILT)
    assert (code, out.count("\n")) == (0, 1), out
    plan = load(bench.folder / "new.yaml").plan_for("model")
    assert plan.declared.mean is not None
    code, out, _ = gate("doctor", "model", "--policy", "new.yaml", "--json")
    assert (code, kinds(out)["accuracy"]) == (0, "ok")


def test_init_of_an_exported_program(gate: Gate, bench: Bench) -> None:
    batch = {"x": {0: torch.export.Dim("batch", min=2)}}
    program = torch.export.export(Plain().eval(), (torch.rand(4, 3, 16, 16),), dynamic_shapes=batch)
    (bench.folder / "exported").mkdir()
    torch.export.save(program, bench.folder / "exported" / "model.pt2")
    code, out, err = gate("policy", "init", "exported", "--output", "new.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("new.yaml: written for pt2, 10 classes, images of [3, 16, 16]; check")
    assert "data.clean: no clean images" in out
    declared = load(bench.folder / "new.yaml").plan_for("exported").declared
    assert (declared.num_classes, declared.shape) == (10, (3, 16, 16))


def test_init_overwrites_nothing_and_refuses_what_a_scan_refuses(gate: Gate, bench: Bench) -> None:
    before = (bench.folder / "policy.yaml").read_bytes()
    assert gate("policy", "init", "model")[:2] == (2, "")
    assert (bench.folder / "policy.yaml").read_bytes() == before
    (bench.folder / "empty").mkdir()
    code, out, err = gate("policy", "init", "empty", "--output", "new.yaml")
    assert (code, out) == (3, "")
    assert err.startswith("error: candidate has no files")
    assert not (bench.folder / "new.yaml").exists()
