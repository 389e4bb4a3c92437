"""`scan` as a user calls it: what it refuses before it starts, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import tiny_network

if TYPE_CHECKING:
    from collections.abc import Callable

    Gate = Callable[..., tuple[int, str, str]]

MEASURING = re.compile(r"measuring max_margin \(1/1\), \d+:\d\d elapsed(?:, \d+:\d\d left)?\n")
POLICY = """\
version: 1
model:
  architecture: tiny:build
  architecture_path: nets
  num_classes: 10
  input: {shape: [1, 8, 8]}
detectors: {max_margin: {restarts: 1, steps: STEPS}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a policy, a tiny network and an empty candidate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "policy.yaml").write_text(POLICY.replace("STEPS", "5"))
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "tiny.py").write_text(tiny_network.SOURCE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.safetensors").write_bytes(tiny_network.weights(0))
    return tmp_path


@pytest.fixture
def gate(folder: Path, program: Gate) -> Gate:
    """Call `scan` in that folder; returns exit code, standard output and standard error."""
    assert folder.is_dir()
    return partial(program, "scan")


# ---------------------------------------------------------------------------------------------- before the scan

FORMATS = "json, junit, markdown, html, sarif, annotations, triggers"
HELP = "; see 'backdoor-gate scan --help'"
PUBLISH = (
    "--publish: there is no registry version to write to; "
    "publish registry versions such as models:/NAME/3, or leave --publish out"
)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["empty"], "Missing option '--policy'; see 'backdoor-gate scan --help'"),
        (["--policy=policy.yaml"], "Missing argument 'MODEL'; see 'backdoor-gate scan --help'"),
        (
            ["empty", "--policy=none.yaml"],
            "none.yaml: cannot be read: No such file or directory; write one with 'backdoor-gate policy init'",
        ),
        (
            ["empty", "--policy=policy.yaml", "--report=json"],
            f"Invalid value for '--report': 'json' is not FORMAT=PATH with a format among {FORMATS}" + HELP,
        ),
        (
            ["empty", "--policy=policy.yaml", "--report=pdf=x"],
            f"Invalid value for '--report': 'pdf=x' is not FORMAT=PATH with a format among {FORMATS}" + HELP,
        ),
        (
            ["empty", "--policy=policy.yaml", "--report=json=x", "--report=junit=./x"],
            "Invalid value for '--report': two reports would be written to FOLDER/x; see 'backdoor-gate scan --help'",
        ),
        (
            ["empty", "--policy=policy.yaml", "--verbose", "--quiet"],
            "--verbose adds to the report that --quiet leaves out" + HELP,
        ),
        (
            ["empty", "--policy=policy.yaml", "--json", "--verbose"],
            "--verbose adds to the report that --json leaves out" + HELP,
        ),
        (
            ["empty", "--policy=policy.yaml", "--publish"],
            PUBLISH,
        ),
        (
            ["models:/m-0123456789abcdef", "--policy=policy.yaml", "--publish"],
            PUBLISH,
        ),
        (
            ["empty", "--policy=policy.yaml", "--budget=10"],
            "Invalid value for '--budget': must be a duration such as 90s, 10m, 1h or 90d, got '10'" + HELP,
        ),
        (
            ["empty", "--policy=policy.yaml", "--budget=0.1s"],
            "Invalid value for '--budget': must be at least 1s, got '0.1s'; see 'backdoor-gate scan --help'",
        ),
        (
            ["empty", "--policy=policy.yaml", "--device=tpu"],
            "Invalid value for '--device': 'tpu' is not one of 'auto', 'cpu', 'cuda'; see 'backdoor-gate scan --help'",
        ),
        (["", "--policy=policy.yaml"], "the name is empty; name a file, a folder or models:/NAME/VERSION"),
        (
            ["model", "--policy=policy.yaml", "--data="],
            "data: is empty; name clean images, or leave it out for the policy's",
        ),
        (
            ["empty", "--policy=policy.yaml", "--seed=-1"],
            "Invalid value for '--seed': -1 is not in the range 0<=x<=4294967295; see 'backdoor-gate scan --help'",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_calls_judge_nothing(gate: Gate, folder: Path, arguments: list[str], line: str) -> None:
    before = sorted(folder.rglob("*"))
    assert gate(*arguments) == (2, "", f"error: {line.replace('FOLDER', str(folder.resolve()))}\n")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--report=json=policy.yaml/r.json", "policy.yaml is no folder; name another path"),
        ("--report=triggers=policy.yaml", "policy.yaml is no folder; name another path"),
        ("--report=json=empty", "empty: is a folder; name a file"),
        ("--report=html=/dev/null", "/dev/null: is not a regular file; name a file"),
        ("--report=junit=/dev/full", "/dev/full: is not a regular file; name a file"),
        ("--statement=empty", "empty: is a folder; name a file"),
        ("--statement=", ".: is a folder; name a file"),
    ],
)
def test_a_report_that_cannot_be_written_is_found_before_the_scan(gate: Gate, option: str, line: str) -> None:
    code, out, err = gate("model", "--policy=policy.yaml", option)
    assert (code, out) == (2, "")
    assert err.endswith(f"{line}\n")
    assert err.startswith("error: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_found_before_the_scan(gate: Gate, folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)
    code, out, err = gate("model", "--policy=policy.yaml", "--report=json=closed/sub/r.json")
    assert (code, out) == (2, "")
    assert err == "error: closed/sub/r.json: no permission to write there; name a folder that can be written\n"


# ---------------------------------------------------------------------------------------------- endings


def test_a_pass_with_every_report(gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    (folder / "summary.md").write_text("before\n")
    paths = {"json": "r.json", "junit": "r.xml", "markdown": "r.md", "html": "r.html", "sarif": "r.sarif"}
    reports = [f"--report={kind}=out/{name}" for kind, name in paths.items()]
    code, out, err = gate("model", "--policy=policy.yaml", "--no-publish", "--device=cpu", *reports)
    assert code == 0, out + err
    assert "PASS" in out
    assert all(f"out/{name}" in out for name in paths.values())
    assert (folder / "out" / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads((folder / "out" / "r.sarif").read_text())["runs"][0]["results"] == []
    assert "measuring max_margin" in err
    assert json.loads((folder / "out" / "r.json").read_text())["verdict"] == "PASS"
    assert (folder / "summary.md").read_text() == f"before\n{(folder / 'out' / 'r.md').read_text()}\n"


def test_json_alone_goes_to_standard_output(gate: Gate, folder: Path) -> None:
    arguments = ("model", "--policy=policy.yaml", "--device=cpu", "--json", "--report=json=r.json")
    code, out, err = gate(*arguments)
    assert code == 0, err
    assert out == (folder / "r.json").read_text()
    assert MEASURING.fullmatch(err), err
    assert gate("empty", "--policy=policy.yaml", "--json", "--quiet")[2] == ""


def test_verbose_shows_every_class(gate: Gate) -> None:
    code, out, err = gate("model", "--policy=policy.yaml", "--device=cpu", "--verbose")
    assert code == 0, err
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == [str(k) for k in range(10)]
    assert "PASS" in out


def test_refused_bytes(gate: Gate, folder: Path) -> None:
    code, out, err = gate("empty", "--policy=policy.yaml", "--quiet", "--report=json=r.json")
    assert (code, err) == (3, "")
    assert out.startswith("REFUSED empty: candidate has no files")
    assert out.count("\n") == 1
    assert json.loads((folder / "r.json").read_text())["verdict"] == "REFUSED"


def test_a_report_that_cannot_be_written_hides_no_worse_verdict(gate: Gate) -> None:
    code, out, err = gate("empty", "--policy=policy.yaml", "--quiet", f"--report=json={'x' * 300}")
    assert code == 3
    assert out.startswith("REFUSED empty")
    assert err.endswith("file name too long; choose a shorter name\n")


def test_a_key_that_cannot_be_made_is_found_before_the_scan(
    gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "policy.yaml"))
    code, out, err = gate("model", "--policy=policy.yaml", "--statement=s.json")
    assert (code, out) == (2, "")
    assert err.endswith("name signing.key in the policy, or set XDG_DATA_HOME\n")


@pytest.mark.parametrize("arguments", [["--policy=policy.yaml", "--data=none.npz"], ["--policy=none.yaml"]])
def test_a_run_that_judges_nothing_leaves_no_older_report(gate: Gate, folder: Path, arguments: list[str]) -> None:
    for name in ("old.xml", "old.json"):
        (folder / name).write_text("an earlier PASS")
    assert gate("model", *arguments, "--report=junit=old.xml", "--report=json=old.json")[0] == 2
    assert not (folder / "old.xml").exists()
    assert not (folder / "old.json").exists()


def test_a_call_that_is_not_understood_removes_nothing(gate: Gate, folder: Path) -> None:
    (folder / "old.xml").write_text("an earlier PASS")
    call = ("model", "--policy=policy.yaml", "--report=junit=old.xml")
    for wrong in (["--budget=10"], ["--nonesuch"], ["--report=pdf=x"], ["--publish"], ["--quiet", "--verbose"]):
        assert gate(*call, *wrong)[0] == 2
    assert (folder / "old.xml").read_text() == "an earlier PASS"


def test_an_older_report_behind_a_link_is_not_taken_for_this_ones(gate: Gate, folder: Path) -> None:
    (folder / "real.xml").write_text("an earlier PASS")
    (folder / "link.xml").symlink_to("real.xml")
    assert gate("model", "--policy=none.yaml", "--report=junit=link.xml")[0] == 2
    assert not (folder / "link.xml").is_symlink()
    assert (folder / "real.xml").read_text() == "an earlier PASS"
    (folder / "link.xml").symlink_to("policy.yaml")
    assert gate("model", "--policy=policy.yaml", "--report=junit=link.xml")[2].endswith(
        "replace what is read; name another file\n"
    )
    assert (folder / "policy.yaml").is_file()


def test_only_files_are_removed(gate: Gate, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link.xml").symlink_to("pipe")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "mine.png").write_text("mine")
    before = sorted(folder.rglob("*"))
    reports = ("junit=link.xml", "json=pipe", "triggers=pictures", "html=empty")
    assert gate("model", "--policy=policy.yaml", *(f"--report={report}" for report in reports))[0] == 2
    assert sorted(folder.rglob("*")) == before
    assert (folder / "link.xml").is_symlink()


@pytest.mark.parametrize("model", ["models:/digits/1", "x" * 300, "models:/" + "x" * 300 + "/1"])
def test_what_is_no_file_can_be_read_beside_an_older_report(gate: Gate, folder: Path, model: str) -> None:
    (folder / "old.json").write_text("an earlier PASS")
    arguments = ("--policy=policy.yaml", "--tracking-uri=sqlite:///none.db", "--quiet", "--report=json=old.json")
    assert gate(model, *arguments)[0] == (4 if model.startswith("models:") else 2)
    assert "PASS" not in ((folder / "old.json").read_text() if model.startswith("models:") else "")


@pytest.mark.parametrize("name", ["policy.yaml", "model/m.safetensors", "clean.npz"])
def test_what_is_read_is_not_removed_for_a_report(gate: Gate, folder: Path, name: str) -> None:
    (folder / "clean.npz").write_bytes(b"images")
    (folder / "old.xml").write_text("an earlier PASS")
    content = (folder / name).read_bytes()
    call = ("model/m.safetensors", "--policy=policy.yaml", "--data=clean.npz", "--report=junit=old.xml")
    code, out, err = gate(*call, f"--report=json=./{name}")
    assert (code, out) == (2, "")
    assert err == f"error: {name}: a report would replace what is read; name another file\n"
    assert (folder / name).read_bytes() == content
    assert (folder / "old.xml").is_file()


def test_an_unreachable_registry_is_inconclusive(gate: Gate) -> None:
    code, out, err = gate("models:/digits/1", "--policy=policy.yaml", "--tracking-uri=sqlite:///none.db", "--quiet")
    assert (code, err) == (4, "")
    assert out.startswith("INCONCLUSIVE models:/digits/1: sqlite:///none.db: no such registry database")


def test_one_line_names_the_model_once_and_cuts_with_a_sign(gate: Gate) -> None:
    code, out, err = gate("models:/digits/1", "--policy=policy.yaml", "--tracking-uri=htp://x", "--quiet")
    assert (code, err) == (4, "")
    assert out.startswith("INCONCLUSIVE models:/digits/1: registry could not be read: Model registry")
    assert "…; check the tracking URI" in out


def test_missing_data_judges_nothing(gate: Gate, folder: Path) -> None:
    code, out, err = gate("model", "--policy=policy.yaml", "--data=none.npz")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {folder / 'none.npz'}: no such file or folder")


def test_a_summary_that_cannot_be_written_is_told(gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder))
    code, out, err = gate("empty", "--policy=policy.yaml", "--quiet")
    assert code == 3
    assert out.startswith("REFUSED")
    assert err == f"error: GITHUB_STEP_SUMMARY ({folder}): cannot be written: Is a directory\n"


def started(*arguments: str, **streams: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from backdoor_gate.cli import main; main()", "scan", *arguments]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, **streams)


@pytest.mark.parametrize(("model", "code"), [("model", 5), ("empty", 3)])
def test_a_pass_that_could_not_be_printed_is_no_success(folder: Path, model: str, code: int) -> None:
    assert folder.is_dir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        process = started(model, "--policy=policy.yaml", "--device=cpu", stdout=full, env=environment)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert MEASURING.sub("", err) == "error: standard output: cannot be written: No space left on device\n"


def test_a_reader_that_leaves_changes_no_verdict(folder: Path) -> None:
    assert folder.is_dir()
    read, write = os.pipe()
    os.close(read)
    for arguments in (["empty", "--policy=policy.yaml"], ["empty", "--policy=policy.yaml", "--quiet"]):
        process = started(*arguments, stdout=write)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (3, "")
    os.close(write)


def test_a_terminal_without_the_characters_is_no_error(folder: Path) -> None:
    assert folder.is_dir()
    process = started(
        "empty", "--policy=policy.yaml", stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (3, "")
    assert "REFUSED" in out


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_scan_leaves_no_child(folder: Path, number: int) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("restarts: 1, steps: STEPS", "restarts: 64, steps: 1000"))
    process = started("model", "--policy=policy.yaml", "--report=json=r.json", stdout=subprocess.PIPE)
    assert process.stderr
    first = process.stderr.readline()
    assert first.startswith("measuring max_margin"), first
    (worker,) = children(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "error: interrupted\n")
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert not (folder / "r.json").exists()
