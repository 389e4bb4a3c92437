"""`rescan` as a user calls it, with real scans of tiny networks from a registry in a file."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.promotion import Pipeline
from support.tiny_network import weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Gate = Callable[..., tuple[int, str, str]]

POLICY = """\
version: 1
models:
  - match: 'tiny-*'
    model: {architecture: tiny:build, architecture_path: nets, num_classes: 10, input: {shape: [1, 8, 8]}}
  - match: 'wrong-*'
    model: {architecture: tiny:build, architecture_path: nets, num_classes: 10, input: {shape: [1, 8, 8]}}
    data: {clean: absent.npz}
detectors: {max_margin: {restarts: 1, steps: 5}}
signing: {key: gate.key, trusted: [gate.pub]}
"""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline with a registry of its own, in whose folder the program runs."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    for key in [key for key in os.environ if key.startswith(("MLFLOW_", "GITHUB_"))]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    SqlAlchemyStore(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    made = Pipeline(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return made


@pytest.fixture
def gate(pipeline: Pipeline, program: Gate) -> Gate:
    """Call `rescan` there; returns exit code, standard output and standard error."""
    assert pipeline.folder.is_dir()
    return partial(program, "rescan")


def test_a_night_and_the_next(pipeline: Pipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model is good, one broken, one cannot be judged by this policy, and one is none of its business."""
    good, broken = pipeline.register("tiny-a", weights(0)), pipeline.register("tiny-b", b"no weights")
    wrong, other = pipeline.register("wrong-data", weights(1)), pipeline.register("unrelated")
    pipeline.registry.point(good, "champion", "1")
    arguments = ("--policy=policy.yaml", "--device=cpu", "--report=json=out/r.json", "--report=junit=out/r.xml")

    code, out, err = gate("--policy=policy.yaml", "--dry-run", "--json")
    assert (code, err.count("\n")) == (0, 3)
    listed = json.loads(out)
    assert [(found["uri"], found["action"], found["due"]) for found in listed["versions"]] == [
        (reference.uri, "listed", "no_verdict") for reference in (good, broken, wrong)
    ]
    assert listed["uncovered"] == ["unrelated"]
    assert all(pipeline.tags(reference) == {} for reference in (good, broken, wrong))

    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    code, out, err = gate(*arguments, "--report=markdown=out/r.md")
    assert code == 3, err
    assert "scanning models:/tiny-a/1: no verdict: it was never scanned, or its tags were removed\n" in err
    assert re.search(r"measuring max_margin \(1/1\), .*\n1/3 models:/tiny-a/1: PASS \(scanned\)\n", err)
    assert "models:/tiny-b/1" in out
    done = {found["uri"]: found for found in json.loads((pipeline.folder / "out/r.json").read_text())["versions"]}
    assert [(found["verdict"], found["exit_code"]) for found in done.values()] == [
        ("PASS", 0), ("REFUSED", 3), (None, 2)
    ]  # fmt: skip
    assert "absent.npz: no such file or folder" in done[wrong.uri]["faults"][0]
    assert pipeline.tags(good)["backdoor_gate.verdict"] == "PASS"
    assert pipeline.tags(broken)["backdoor_gate.verdict"] == "REFUSED"
    assert pipeline.tags(wrong) == pipeline.tags(other) == {}
    written = (pipeline.folder / "out/r.md").read_text()
    assert (pipeline.folder / "summary.md").read_text() == written + "\n"

    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    code, _, err = gate(*arguments, "--quiet")
    assert (code, err) == (3, "")
    again = json.loads((pipeline.folder / "out/r.json").read_text())["versions"]
    assert [found["action"] for found in again] == ["kept", "kept", "failed"]
    assert again[0]["scan_id"] == done[good.uri]["scan_id"]

    pipeline.overwrite(good.uri, weights(2))
    code, out, _ = gate(*arguments, "--quiet")
    assert out.startswith("3 versions of 3 models: 1 scanned, 1 kept, 1 failed; 1 model not covered by the policy; ")
    assert json.loads((pipeline.folder / "out/r.json").read_text())["versions"][0]["due"] == "bytes"


def test_a_pass_of_all(pipeline: Pipeline, gate: Gate) -> None:
    pipeline.register("tiny-a", weights(0))
    code, out, err = gate("--policy=policy.yaml", "--device=cpu", "--quiet", "--compare-bytes=used")
    assert (code, out, err) == (0, "1 version of 1 model: 1 scanned; 1 PASS\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "Missing option '--policy'"),
        (["--policy=none.yaml"], 2, "none.yaml: cannot be read"),
        (["--policy=policy.yaml", "--stale-after=30"], 2, "must be a duration such as 90s, 10m, 1h or 90d, got '30'"),
        (["--policy=policy.yaml", "--report=html=x"], 2, "with a format among json, junit, markdown"),
        (["--policy=policy.yaml", "--report=json=x", "--report=junit=x"], 2, "two reports would be written to"),
        (["--policy=policy.yaml", "--compare-bytes=none"], 2, "'none' is not one of 'all', 'used'"),
        (["--policy=policy.yaml"], 2, "none of 0 registered models has a version that the policy covers"),
        (["--policy=policy.yaml", "--tracking-uri=http://127.0.0.1:9"], 4, "registry unreachable"),
        (["--policy=policy.yaml", "--report=json=policy.yaml/r"], 2, "is no folder"),
        (["--policy=policy.yaml", "--report=json=."], 2, "is a folder; name a file"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_calls(gate: Gate, arguments: list[str], code: int, line: str) -> None:
    ended, out, err = gate(*arguments)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert line in err


def test_a_run_that_judges_nothing_leaves_no_older_summary(pipeline: Pipeline, gate: Gate) -> None:
    (pipeline.folder / "old.xml").write_text("an earlier night")
    assert gate("--policy=policy.yaml", "--report=junit=old.xml")[0] == 2
    assert not (pipeline.folder / "old.xml").exists()
    assert gate("--policy=policy.yaml", "--report=junit=policy.yaml")[0] == 2
    assert (pipeline.folder / "policy.yaml").is_file()


def test_a_summary_that_cannot_be_written(pipeline: Pipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.register("tiny-a", weights(0))
    (pipeline.folder / "taken").mkdir()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "taken")
    code, out, err = gate(
        "--policy=policy.yaml", "--device=cpu", "--quiet", f"--report=json={'x' * 300}", "--report=junit=r.xml"
    )
    assert (code, err.count("\n")) == (5, 2)
    assert out == "1 version of 1 model: 1 scanned; 1 PASS\n"
    assert (pipeline.folder / "r.xml").is_file()
