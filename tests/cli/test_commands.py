"""The commands beside `scan`, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backdoor_gate import __version__
from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.policy import json_schema, load
from backdoor_gate.policy.template import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backdoor_gate.catalogue import DetectorSpec

    Gate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gate(program: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Call the program in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    return program


def test_version(gate: Gate) -> None:
    assert gate("--version") == (0, f"backdoor-gate, version {__version__}\n", "")


def test_without_a_command_help_is_no_success(gate: Gate) -> None:
    code, out, err = gate()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: backdoor-gate")


@pytest.mark.parametrize("group", [(), ("policy",), ("key",)])
def test_what_commands_are_for_is_told_in_full(gate: Gate, group: tuple[str, ...]) -> None:
    _, out, _ = gate(*group, "--help")
    listed = out.partition("Commands:")[2].partition("Exit codes:")[0].split("\n  ")
    assert len(listed) > 1
    assert all(line.rstrip().endswith((".", "default).")) and "..." not in line for line in listed[1:] if line.strip())


def test_unknown_commands(gate: Gate) -> None:
    code, out, err = gate("scam")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: No such command 'scam'")


# ---------------------------------------------------------------------------------------------- detectors


def test_detectors_are_listed(gate: Gate) -> None:
    code, out, _ = gate("detectors")
    assert code == 0
    for spec in DETECTORS:
        assert f"{'*' if spec.required else ' '} {spec.name} " in out
        assert spec.claim.split(",")[0][:40] in " ".join(out.split())


@pytest.mark.parametrize("spec", DETECTORS, ids=lambda spec: spec.name)
def test_a_detector_is_described(gate: Gate, spec: DetectorSpec) -> None:
    code, out, _ = gate("detectors", spec.name)
    assert code == 0
    flat = " ".join(out.split())
    for text in (spec.title, spec.claim, spec.blind_to, spec.unit, spec.source):
        assert text in flat
    for setting in spec.settings:
        assert f"Between {setting.low} and {setting.high}; {setting.default} by default." in flat


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ground_inversion", "needed: without clean images all searches are on such images"),
        ("corruption_probe", "needed: without clean images there is nothing to corrupt"),
        ("neural_cleanse", "make its evidence verifiable"),
        ("max_margin", "not needed"),
    ],
)
def test_what_clean_images_are_to_a_detector(gate: Gate, name: str, words: str) -> None:
    (line,) = (line for line in gate("detectors", name)[1].splitlines() if line.startswith("clean images"))
    assert line.removeprefix("clean images").strip().startswith(words)


def test_an_unknown_detector(gate: Gate) -> None:
    names = ", ".join(spec.name for spec in DETECTORS)
    line = f"error: Invalid value for NAME: no detector 'nc'; there are {names}; see 'backdoor-gate detectors --help'\n"
    assert gate("detectors", "nc") == (2, "", line)


# ---------------------------------------------------------------------------------------------- explain


def test_a_report_is_explained(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    code, out, _ = gate("scan", "empty", "--policy=policy.yaml", "--json")
    assert code == 3
    (tmp_path / "report.json").write_text(out)
    code, out, err = gate("explain", "report.json")
    assert (code, err) == (0, "")
    assert out.startswith("REFUSED  empty\nThe candidate's bytes are not acceptable.\nWhy\n  candidate has no files")
    assert "Do not promote this version" in out


def test_what_is_no_report_is_a_usage_error(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    code, out, err = gate("explain", "policy.yaml")
    assert (code, out) == (2, "")
    assert err == "error: policy.yaml: not JSON; write one with 'backdoor-gate scan MODEL --report json=PATH'\n"


# ---------------------------------------------------------------------------------------------- policy


def test_init_writes_the_shipped_policy_once(gate: Gate, tmp_path: Path) -> None:
    assert gate("policy", "init") == (
        0,
        "policy.yaml: written; check it with 'backdoor-gate policy check policy.yaml'\n",
        "",
    )
    assert (tmp_path / "policy.yaml").read_bytes() == SHIPPED.read_bytes()
    (tmp_path / "policy.yaml").write_text("mine")
    assert gate("policy", "init") == (2, "", "error: policy.yaml: exists; add --force to overwrite it\n")
    assert (tmp_path / "policy.yaml").read_text() == "mine"
    assert gate("policy", "init", "--force")[0] == 0
    assert (tmp_path / "policy.yaml").read_bytes() == SHIPPED.read_bytes()


def test_init_fills_in_what_it_is_told(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    code, _, err = gate(
        "policy", "init", "--output", "gate/p.yaml", "--data", "d/clean.npz", "--classes", "7", "--shape", "1,8,8"
    )
    assert (code, err) == (0, "")
    plan = load(tmp_path / "gate" / "p.yaml").plan_for("x")
    assert (plan.declared.num_classes, plan.declared.shape) == (7, (1, 8, 8))
    assert plan.data == str(tmp_path / "gate" / ".." / "d" / "clean.npz")
    assert gate("policy", "init", "--force", "--data", "runs:/abc/clean.npz")[0] == 0
    assert load(tmp_path / "policy.yaml").plan_for("x").data == "runs:/abc/clean.npz"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--shape", "3,32"], 2, "Invalid value for '--shape': '3,32' is not C,H,W, such as 3,32,32"),
        (["--shape", "3,32,9999"], 2, "must be [channels, height, width], three whole numbers between 1 and 4096"),
        (["--classes", "1"], 2, "Invalid value for '--classes': 1 is not in the range x>=2"),
        (["--data", "a\nb"], 2, "data.clean: must be text on one line"),
        (["--data", "a\udcffb"], 2, "not UTF-8 YAML"),
        (["--output", "none/policy.yaml"], 5, "none/policy.yaml: cannot be written: No such file or directory"),
    ],
)
def test_init_with_bad_values(gate: Gate, tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    ended, out, err = gate("policy", "init", *arguments)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert line in err
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_a_policy_orders(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "c.npz").touch()
    (tmp_path / "gate.yaml").write_text(
        "version: 1\ndata: {clean: c.npz}\nlimits: {time: 90s}\n"
        "detectors: {neural_cleanse: , final_layer: , max_margin: {required: false}}\n"
    )
    code, out, err = gate("policy", "check", "gate.yaml")
    assert (code, err) == (0, "")
    ordered = {"neural_cleanse", "final_layer", "max_margin"}
    assert out.splitlines() == [
        "gate.yaml: ok",
        "  required      neural_cleanse",
        "  not required  final_layer, max_margin",
        f"  not run       {', '.join(spec.name for spec in DETECTORS if spec.name not in ordered)}",
        "  false blocks  0.01 of clean models, nominal; 'backdoor-gate calibrate' measures it",
        "  limits        90s, 8GiB",
        "  signing       the user's own key",
        f"  clean images  {tmp_path / 'c.npz'}",
    ]


def test_check_of_bad_policies(gate: Gate, tmp_path: Path) -> None:
    assert gate("policy", "check")[::2] == (
        2,
        "error: policy.yaml: cannot be read: No such file or directory; write one with 'backdoor-gate policy init'\n",
    )
    (tmp_path / "policy.yaml").write_text("version: 1\nmax_unmeasured: .nan")
    line = "error: policy.yaml:2: max_unmeasured: must be a number of at least 0 and below 1, got NaN\n"
    assert gate("policy", "check") == (2, "", line)
    (tmp_path / "policy.yaml").write_text("version: 1\ndata: {clean: none.npz}")
    code, _, err = gate("policy", "check")
    assert code == 2
    assert "data.clean: no such file or folder" in err


def test_the_schema_is_printed(gate: Gate) -> None:
    code, out, _ = gate("policy", "schema")
    assert (code, json.loads(out)) == (0, json_schema())


# ---------------------------------------------------------------------------------------------- in a blink


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        ("--help", "pydantic yaml rich numpy"),
        ("scan --help", "pydantic yaml rich numpy"),
        ("detectors max_margin", "pydantic yaml rich numpy"),
        ("policy schema", "rich numpy mlflow torch"),
        ("policy init", "rich numpy mlflow torch"),
    ],
)
def test_quick_commands_import_little(arguments: str, forbidden: str, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from backdoor_gate.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert set(done.stderr.split()) & set(forbidden.split()) == set()
