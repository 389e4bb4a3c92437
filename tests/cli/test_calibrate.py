"""`calibrate` as a user calls it, with real scans of tiny networks; and a scan with what it wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import tiny_network

from backdoor_gate.cli import calibrate
from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    Gate = Callable[..., tuple[int, str, str]]

POLICY = """\
version: 1
model: {architecture: tiny:build, architecture_path: nets, num_classes: 10, input: {shape: [1, 8, 8]}}
detectors: {max_margin: {restarts: 1, steps: 5}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a policy and three tiny networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "tiny.py").write_text(tiny_network.SOURCE)
    for seed, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.safetensors").write_bytes(tiny_network.weights(seed))
    return tmp_path


@pytest.fixture
def gate(folder: Path, program: Gate) -> Gate:
    """Call a command in that folder; returns exit code, standard output and standard error."""
    assert folder.is_dir()
    return program


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "r.json").read_text())  # type: ignore[no-any-return]


CALL = ("calibrate", "--policy=policy.yaml", "--out=r.json", "--device=cpu")


def test_good_models_become_references_that_a_scan_takes(folder: Path, gate: Gate) -> None:
    code, out, err = gate(*CALL, "a", "b", "--quiet")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "r.json: 2 references",
        "  2 with 10 classes of 1×8×8 images: too few to judge others of that kind (at least 10)",
        "The shipped limits block 0 of them: with 95 % confidence at most 77.6% of such",
        "Smallest false-block rate that they support: 0.3333",
        (
            "The policy's 0.01 needs 99 references (97 more): until then the shipped limits decide, and reports say "
            "'calibrated: false'"
        ),
    ]
    first, second = written(folder)["models"]
    assert (first["name"], first["blocked"], first["excluded"]) == ("a", False, False)
    assert first["kind"] == {"classes": 10, "shape": [1, 8, 8], "architecture": "tiny:build"}
    assert first["digest"] != second["digest"]

    (folder / "policy.yaml").write_text(POLICY + "references: r.json\n")
    code, out, err = gate("policy", "check", "policy.yaml")
    assert (code, err) == (0, "")
    assert "2 known-good models, 0 blocked by the shipped limits; support a false-block rate of 0.333: too few" in out
    code, out, _ = gate("scan", "c", "--policy=policy.yaml", "--device=cpu", "--json")
    assert code == 0
    assert json.loads(out)["calibrated"] is False

    many = written(folder)
    many["models"] = [first | {"digest": f"sha256:{number:064x}"} for number in range(99)]
    (folder / "r.json").write_text(json.dumps(many))
    code, out, _ = gate("scan", "c", "--policy=policy.yaml", "--device=cpu", "--json")
    report = json.loads(out)
    assert (code, report["calibrated"], report["calibration"]["in_force"]) == (0, True, True)
    assert report["calibration"]["digest"] == f"sha256:{hashlib.sha256((folder / 'r.json').read_bytes()).hexdigest()}"
    (folder / "r.json").unlink()
    code, out, err = gate("scan", "c", "--policy=policy.yaml")
    assert (code, out) == (2, "")
    assert "policy.yaml:4: references: " in err
    assert "r.json: cannot be read: No such file or directory; write one with 'backdoor-gate calibrate" in err


def test_a_file_is_extended_only_on_request_and_goes_on_where_it_was(folder: Path, gate: Gate) -> None:
    assert gate(*CALL, "a", "--quiet")[0] == 0
    line = "error: r.json: exists; add --extend to add to it, or name another file\n"
    assert gate(*CALL, "b") == (2, "", line)
    code, _, err = gate(*CALL, "a", "b", "--extend")
    assert code == 0
    assert "a: is there already, as a" in err
    assert [model["name"] for model in written(folder)["models"]] == ["a", "b"]
    (folder / "policy.yaml").write_text(POLICY.replace("steps: 5", "steps: 6"))
    code, out, err = gate(*CALL, "c", "--extend")
    assert (code, out) == (2, "")
    assert "other settings of max_margin; use the policy that they were measured with, or another --out" in err
    (folder / "policy.yaml").write_text(POLICY + "false_block_rate: 0.05\n")
    assert "judged at a false_block_rate of 0.01" in gate(*CALL, "c", "--extend")[2]


def test_what_is_excluded_stays_in_the_file_and_does_not_count(folder: Path, gate: Gate) -> None:
    assert gate(*CALL, "a", "b", "--exclude=b", "--quiet")[0] == 0
    assert [model["excluded"] for model in written(folder)["models"]] == [False, True]
    code, out, _ = gate(*CALL, "--extend", "--exclude=a", "--quiet")
    assert code == 0
    assert out.startswith("r.json: 0 references, and 2 that do not count\n")
    assert "--exclude: 'd' is none of the models" in gate(*CALL, "--extend", "--exclude=d")[2]


@pytest.mark.parametrize("first", [["a"], []])
def test_the_same_bytes_by_another_name_are_excluded_too(folder: Path, gate: Gate, first: list[str]) -> None:
    shutil.copytree(folder / "a", folder / "again")
    if first:
        assert gate(*CALL, *first, "--quiet")[0] == 0
    arguments = ["again", "--extend"] if first else ["a", "again"]
    code, out, err = gate(*CALL, *arguments, "--exclude=again", "--quiet")
    assert (code, err) == (0, "warning: again: excluded; it is the same as a, which does not count any more\n")
    assert out.startswith("r.json: 0 references, and 1 that do not count\n")
    assert [(model["name"], model["excluded"]) for model in written(folder)["models"]] == [("a", True)]


def test_a_model_that_the_limits_block_counts_and_is_told(
    folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace  # noqa: PLC0415

    real = calibrate.audited

    def blocked(request: Any, *others: Any) -> Any:
        outcome = real(request, *others)
        decision = replace(outcome.report.decision, verdict=Verdict.BLOCK, reasons=("class 3: small",))
        return replace(outcome, report=replace(outcome.report, decision=decision))

    monkeypatch.setattr(calibrate, "audited", blocked)
    code, out, err = gate(*CALL, "a", "--quiet")
    assert code == 1
    assert err == (
        "warning: a: the shipped limits block this model: class 3: small. It counts. If it is not known to be good, "
        "take it out: --extend --exclude a\n"
    )
    assert "The shipped limits block 1 of them" in out
    assert "The policy's 0.01 needs 199 references (198 more)" in out
    assert written(folder)["models"][0]["blocked"] is True
    assert gate(*CALL, "--extend", "--exclude=a", "--quiet")[0] == 0


def test_what_cannot_be_measured_is_no_reference(folder: Path, gate: Gate) -> None:
    (folder / "a" / "m.safetensors").write_bytes(b"no weights")
    code, out, err = gate(*CALL, "a", "b", "--quiet")
    assert code == 3
    assert "warning: a: REFUSED, so it is no reference: " in err
    assert out.startswith("r.json: 1 reference\n")
    assert [model["name"] for model in written(folder)["models"]] == ["b"]
    (folder / "r.json").unlink()
    code, out, _ = gate(*CALL, "a", "--quiet")
    assert (code, out) == (3, "no model could be measured, so nothing was written\n")
    assert not (folder / "r.json").exists()


def test_an_interrupted_run_keeps_what_it_measured(folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    real = calibrate.audited

    def interrupted(request: Any, *others: Any) -> Any:
        if request.reference == "b":
            raise KeyboardInterrupt
        return real(request, *others)

    monkeypatch.setattr(calibrate, "audited", interrupted)
    assert gate(*CALL, "a", "b", "--quiet")[::2] == (130, "error: interrupted\n")
    assert [model["name"] for model in written(folder)["models"]] == ["a"]
    monkeypatch.setattr(calibrate, "audited", real)
    assert gate(*CALL, "a", "b", "--extend", "--quiet")[0] == 0
    assert [model["name"] for model in written(folder)["models"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["calibrate", "a", "--out=r.json"], 2, "Missing option '--policy'"),
        (["calibrate", "a", "--policy=none.yaml", "--out=r.json"], 2, "none.yaml: cannot be read"),
        ([*CALL], 2, "no MODEL was given"),
        ([*CALL, "a", "--extend"], 2, "r.json: cannot be read: No such file or directory"),
        ([*CALL, "a", "models:/x"], 2, "models:/x"),
        ([*CALL[:2], "a", "--out=policy.yaml/r.json"], 2, "is no folder"),
        ([*CALL, "a", "--data=absent.npz"], 2, "absent.npz: no such file or folder"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_bad_calls(gate: Gate, arguments: list[str], code: int, line: str) -> None:
    ended, out, err = gate(*arguments)
    assert (ended, out) == (code, "")
    assert line in err
    assert not Path("r.json").exists()
