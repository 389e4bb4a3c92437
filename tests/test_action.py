"""`scripts/action.sh`, run as a GitHub runner would, with a stand-in for the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.github_runner import read_environment_file

from backdoor_gate import github
from backdoor_gate.records import Verdict

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "action.sh"
CODES = {0: "PASS", 1: "BLOCK", 3: "REFUSED", 4: "INCONCLUSIVE", 5: "PASS"}

STAND_IN = """\
#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
pathlib.Path(os.environ["STAND_IN_LOG"]).write_text(
    json.dumps({{"arguments": arguments, "uri": os.environ.get("MLFLOW_TRACKING_URI")}})
)
for argument in arguments:
    if argument.startswith("--report=json=") and "STAND_IN_JSON" in os.environ:
        pathlib.Path(argument.split("=", 2)[2]).write_text(os.environ["STAND_IN_JSON"], encoding="utf-8")
    if argument.startswith("--report=annotations=") and "STAND_IN_ANNOTATIONS" in os.environ:
        pathlib.Path(argument.split("=", 2)[2]).write_text(os.environ["STAND_IN_ANNOTATIONS"], encoding="utf-8")
print("::set-output name=verdict::PASS", flush=True)
sys.stderr.write("::error::from standard error\\nno end of line")
sys.exit(int(os.environ["STAND_IN_CODE"]))
"""

HOSTILE = "a\nverdict=PASS\n::error::b\x1b[2J<<EOF\nEOF\n`${{ secrets.X }}`\u202e"


def document(verdict: str, **changes: Any) -> dict[str, Any]:
    detectors = [
        {"name": "final_layer", "p_value": None, "anomaly_index": 40.0},
        {"name": "neural_cleanse", "p_value": 0.001, "anomaly_index": 6.25},
        {"name": "warp_inversion", "p_value": 0.5, "anomaly_index": 1.5},
        {"name": "max_margin", "p_value": 0.0001, "anomaly_index": None},
    ]
    candidate = {"uri": "models:/digits/1", "digest": "sha256:0"}
    found = {"candidate": candidate, "suspect_classes": [7], "detectors": detectors, "reasons": [HOSTILE]}
    return {"verdict": verdict} | found | changes


# ---------------------------------------------------------------------------------------------- one step


@dataclass(frozen=True)
class Step:
    """What a step left behind: outputs, summary, and how it called the command (None where it did not)."""

    code: int
    stdout: str
    stderr: str
    outputs: dict[str, str]
    summary: str
    arguments: list[str] | None
    uri: str | None


@pytest.fixture
def step(tmp_path: Path) -> Any:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    stand_in = binaries / "backdoor-gate"
    stand_in.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    python = binaries / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    for program in (stand_in, python):
        program.chmod(0o755)

    def run(code: int = 0, report: object = None, **environment: str) -> Step:
        runner = tmp_path / "runner"
        runner.mkdir(exist_ok=True)
        for name in ("output", "summary"):
            (tmp_path / name).write_text("", encoding="utf-8")
        variables = {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(runner),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GATE_MODEL": "models:/digits/1",
            "GATE_POLICY": "gate.yaml",
            "GATE_DATA": "",
            "GATE_TRACKING_URI": "",
            "GATE_PUBLISH": "true",
            "GATE_REPORTS": "",
            "GATE_DEVICE": "auto",
            "GATE_BUDGET": "",
            "STAND_IN_LOG": str(tmp_path / "log.json"),
            "STAND_IN_CODE": str(code),
        }
        if report is not None:
            variables["STAND_IN_JSON"] = report if isinstance(report, str) else json.dumps(report)
        bash = shutil.which("bash")
        assert bash
        done = subprocess.run(
            [bash, str(SCRIPT)],
            env=variables | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        log = tmp_path / "log.json"
        called = json.loads(log.read_text(encoding="utf-8")) if log.exists() else {}
        return Step(
            code=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            outputs=read_environment_file((tmp_path / "output").read_text(encoding="utf-8")),
            summary=(tmp_path / "summary").read_text(encoding="utf-8"),
            arguments=called.get("arguments"),
            uri=called.get("uri"),
        )

    return run


@pytest.mark.parametrize(("code", "verdict"), CODES.items())
def test_the_step_ends_with_the_gates_code_and_sets_outputs(step: Any, code: int, verdict: str) -> None:
    done = step(code, document(verdict))
    assert done.code == code
    assert done.outputs["verdict"] == verdict
    assert done.outputs["candidate"] == "models:/digits/1"
    assert done.outputs["anomaly-index"] == "6.25"
    assert json.loads(done.outputs["suspect-classes"]) == [7]
    assert json.loads(Path(done.outputs["report"]).read_text(encoding="utf-8"))["verdict"] == verdict
    assert done.summary == ""


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 70])
def test_without_a_report_the_step_is_inconclusive_and_fails(step: Any, code: int) -> None:
    done = step(code)
    assert done.code == (code or Verdict.INCONCLUSIVE.exit_code)
    assert done.outputs == github.Outputs().items()
    assert done.outputs["verdict"] == "INCONCLUSIVE"
    assert f"exit code {code}" in done.summary


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 70, 130])
def test_a_report_is_never_better_than_the_exit_code(step: Any, code: int) -> None:
    done = step(code, document("PASS"))
    assert done.code == code
    assert done.outputs["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize("verdict", ["BLOCK", "REFUSED", "INCONCLUSIVE"])
def test_exit_zero_without_a_passing_report_fails(step: Any, verdict: str) -> None:
    assert step(0, document(verdict)).code == Verdict(verdict).exit_code


@pytest.mark.parametrize(
    "report",
    [
        "",
        "null",
        "[]",
        "{",
        document(HOSTILE),
        document("pass"),
        document("PASS", suspect_classes=[HOSTILE]),
        document("PASS", suspect_classes=[True]),
        document("PASS", suspect_classes=None),
        document("PASS", candidate=None),
        document("PASS", candidate={"uri": [HOSTILE], "digest": "sha256:0"}),
        document("PASS", detectors=[{"p_value": HOSTILE, "anomaly_index": 1}]),
        document("PASS", detectors=[{"p_value": 0.5, "anomaly_index": 10**400}]),
        document("PASS", detectors=[{}]),
        json.dumps(document("PASS", detectors=[{"p_value": float("nan"), "anomaly_index": 1}])),
    ],
    ids=lambda report: str(report)[:24].encode("unicode_escape").decode(),
)
def test_a_malformed_report_is_no_report(step: Any, report: object) -> None:
    done = step(0, report)
    assert done.code == Verdict.INCONCLUSIVE.exit_code
    assert done.outputs["verdict"] == "INCONCLUSIVE"


def test_hostile_values_stay_values(step: Any) -> None:
    done = step(1, document("BLOCK"), GATE_MODEL="models:/$(touch pwned)/`touch pwned`", GATE_DATA='"; touch pwned; "')
    assert done.outputs.keys() == github.Outputs().items().keys()
    assert done.outputs["verdict"] == "BLOCK"
    assert done.arguments[-2:] == ["--", "models:/$(touch pwned)/`touch pwned`"]
    assert '--data="; touch pwned; "' in done.arguments
    assert not list(Path(done.outputs["report"]).parents[2].rglob("pwned"))


def test_what_was_only_asked_for_is_no_candidate(step: Any) -> None:
    unresolved = {"uri": "models:/digits@challenger", "digest": None}
    assert step(4, document("INCONCLUSIVE", candidate=unresolved)).outputs["candidate"] == ""


def test_a_candidates_name_stays_one_line(step: Any) -> None:
    done = step(1, document("BLOCK", candidate={"uri": HOSTILE, "digest": "sha256:0"}))
    assert done.outputs["verdict"] == "BLOCK"
    assert "\n" not in done.outputs["candidate"]


def test_the_gates_output_gives_the_runner_no_commands(step: Any) -> None:
    lines = step(0, document("PASS")).stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert lines[-1] == f"::{token}::"
    assert lines.index("::set-output name=verdict::PASS") in range(1, len(lines) - 1)
    assert lines.index("::error::from standard error") in range(1, len(lines) - 1)


def test_nothing_but_the_action_itself_speaks_on_standard_error(step: Any) -> None:
    assert step(0, document("PASS")).stderr == ""


def test_annotations_come_after_the_token(step: Any) -> None:
    line = "::error title=BLOCK%3A neural_cleanse,file=gate.yaml::class 7"
    lines = step(1, document("BLOCK"), STAND_IN_ANNOTATIONS=f"{line}\n").stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert lines[-2:] == [f"::{token}::", line]


def test_inputs_become_options(step: Any) -> None:
    done = step(
        0,
        document("PASS"),
        GATE_DATA="data/clean set.npz",
        GATE_TRACKING_URI="http://127.0.0.1:5000",
        GATE_PUBLISH="false",
        GATE_DEVICE="cuda",
        GATE_BUDGET="5m",
        GATE_REPORTS="  junit=out/junit report.xml \n\n\tjson=out/r.json\n",
    )
    own = [argument for argument in done.arguments if "backdoor-gate-reports." in argument]
    assert [argument.split("=")[1] for argument in own] == ["json", "annotations"]
    assert [argument for argument in done.arguments if argument not in own] == [
        "scan",
        "--policy=gate.yaml",
        "--report=junit=out/junit report.xml",
        "--report=json=out/r.json",
        "--data=data/clean set.npz",
        "--device=cuda",
        "--budget=5m",
        "--no-publish",
        "--",
        "models:/digits/1",
    ]
    assert done.uri == "http://127.0.0.1:5000"


def test_defaults(step: Any) -> None:
    done = step(0, document("PASS"), MLFLOW_TRACKING_URI="sqlite:///own.db")
    assert [argument.split("=")[1] for argument in done.arguments if argument.startswith("--report")] == [
        "json",
        "annotations",
        "junit",
        "markdown",
    ]
    assert not {"--publish", "--no-publish"} & set(done.arguments)
    assert done.uri == "sqlite:///own.db"


@pytest.mark.parametrize(
    "wrong", [{"GATE_MODEL": ""}, {"GATE_POLICY": ""}, {"GATE_PUBLISH": "yes"}], ids=lambda wrong: next(iter(wrong))
)
def test_wrong_inputs_are_usage_errors(step: Any, wrong: dict[str, str]) -> None:
    done = step(0, document("PASS"), **wrong)
    assert done.code == 2
    assert done.arguments is None
    assert next(iter(wrong)).removeprefix("GATE_").lower() in done.stderr
    assert done.outputs["verdict"] == "INCONCLUSIVE"


def test_a_missing_command_fails(step: Any, tmp_path: Path) -> None:
    (tmp_path / "bin" / "backdoor-gate").unlink()
    shutil.copy(shutil.which("false") or "/bin/false", tmp_path / "bin" / "backdoor-gate")
    assert step(0).code == 1


# ---------------------------------------------------------------------------------------------- the helper alone


def test_a_report_nested_too_deep_is_no_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("[" * 100_000, encoding="utf-8")
    assert github.read_outputs(0, report) == github.Outputs()


def test_between_equal_p_values_the_larger_index_tells_more(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    pairs = [{"p_value": 0.01, "anomaly_index": index} for index in (3.0, 7.0, 5.0)]
    report.write_text(json.dumps(document("BLOCK", detectors=pairs)), encoding="utf-8")
    assert github.read_outputs(1, report).anomaly_index == 7.0


@pytest.mark.parametrize(("code", "expected"), [("0", 70), ("1", 1), ("5", 5), ("x", 70)])
def test_outputs_that_cannot_be_written_fail_the_step(
    code: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "none" / "output"))
    report = tmp_path / "report.json"
    report.write_text(json.dumps(document("PASS")), encoding="utf-8")
    assert github.main([code, str(report)]) == expected
