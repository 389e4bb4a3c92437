"""Runs a composite action on this machine, step by step, as a GitHub runner does.

Real are the expressions, the conditions, bash with GitHub's own options, the environment of each step and the files
behind GITHUB_OUTPUT, GITHUB_STEP_SUMMARY, GITHUB_ENV and GITHUB_PATH. A step that `uses` another action is not run: the
caller says what its outputs are, and an action that the caller does not know is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from support.github_expressions import Expressions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    UsedAction = Callable[[Mapping[str, str]], Mapping[str, str]]

BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
_COMMAND = re.compile(r"\s*::([^\s:]+)(?: (.*?))?::(.*)")
_OLD_COMMAND = re.compile(r"##\[([^\s\]]+)(?: (.*?))?\](.*)")
FILES = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")


@dataclass(frozen=True)
class Command:
    """A workflow command that the runner acts on."""

    name: str
    properties: str
    data: str


@dataclass
class Step:
    """What became of one step: `conclusion` is success, failure or skipped."""

    name: str
    conclusion: str = "skipped"
    code: int | None = None
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def commands(self) -> list[Command]:
        """The workflow commands in its log."""
        return commands(self.log)


@dataclass
class Result:
    """What became of the action."""

    steps: dict[str, Step]
    outputs: dict[str, str]

    @property
    def conclusion(self) -> str:
        """Failure where any step failed."""
        return "failure" if any(step.conclusion == "failure" for step in self.steps.values()) else "success"


def read_environment_file(text: str) -> dict[str, str]:
    """Read GITHUB_OUTPUT or GITHUB_ENV: `name=value`, or `name<<DELIMITER`, lines, `DELIMITER`."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        if delimited := re.fullmatch(r"([^=<]+)<<(.+)", line):
            value = []
            for inner in lines:
                if inner == delimited[2]:
                    break
                value.append(inner)
            else:
                raise AssertionError(f"no closing delimiter for {delimited[1]}")
            found[delimited[1]] = "\n".join(value)
        else:
            name, sign, value = line.partition("=")
            assert sign, f"neither a value nor the start of one: {line!r}"
            found[name] = value
    return found


def commands(log: str) -> list[Command]:
    """Return the workflow commands of a log, in both spellings, without those that it stopped."""
    found: list[Command] = []
    token = None
    for line in re.split(r"\r\n|\r|\n", log):
        match = re.match(r"\s*::([^\s:]+)(?: (.*?))?::(.*)", line) or re.search(
            r"##\[([^\s\]]+)(?: (.*?))?\](.*)", line
        )
        if not match:
            continue
        command = Command(match[1], match[2] or "", match[3])
        if token:
            token = None if command.name == token else token
        elif command.name == "stop-commands":
            token = command.data
        else:
            found.append(command)
    return found


@dataclass
class Runner:
    """One job on one machine.

    Attributes:
        action: the folder of `action.yml`.
        workspace: where the steps run.
        temp: the runner's temporary folder.
        uses: for each action that a step uses, without its version, what turns its inputs into its outputs.
        environment: of the job.
    """

    action: Path
    workspace: Path
    temp: Path
    uses: Mapping[str, UsedAction]
    environment: dict[str, str]

    def run(self, **inputs: str) -> Result:
        """Run all steps with these inputs, and the defaults for the others."""
        document = yaml.safe_load((self.action / "action.yml").read_text(encoding="utf-8"))
        declared = document["inputs"]
        assert not inputs.keys() - declared.keys(), "no such input"
        contexts = {
            "inputs": {name: inputs.get(name, str(one.get("default", ""))) for name, one in declared.items()},
            "github": {"action_path": str(self.action)},
            "runner": {"os": "Linux", "temp": str(self.temp)},
            "env": dict(self.environment),
            "steps": {},
        }
        done: dict[str, Step] = {}
        for number, step in enumerate(document["runs"]["steps"]):
            name = step.get("id") or step.get("name") or str(number)
            done[name] = self._step(name, step, contexts, failed=any(s.conclusion == "failure" for s in done.values()))
            contexts["steps"][name] = {"outputs": done[name].outputs, "conclusion": done[name].conclusion}
        expressions = Expressions(contexts)
        outputs = {name: expressions.fill(output["value"]) for name, output in document["outputs"].items()}
        return Result(done, outputs)

    def _step(self, name: str, step: Mapping[str, Any], contexts: dict[str, Any], *, failed: bool) -> Step:
        expressions = Expressions(contexts, failed=failed)
        if not expressions.condition(step.get("if")):
            return Step(name)
        if "uses" in step:
            given = {key: expressions.fill(str(value)) for key, value in step.get("with", {}).items()}
            return Step(name, "success", outputs=dict(self.uses[step["uses"].partition("@")[0]](given)))
        assert step["shell"] == "bash"
        script = expressions.fill(step["run"])
        variables = {key: expressions.fill(str(value)) for key, value in step.get("env", {}).items()}
        return self._bash(name, script, variables, contexts["env"])

    def _bash(self, name: str, script: str, variables: Mapping[str, str], kept: dict[str, str]) -> Step:
        folder = self.temp / "_runner_file_commands" / re.sub(r"\W", "_", name)
        folder.mkdir(parents=True)
        for file in FILES:
            (folder / file).touch()
        (folder / "script.sh").write_text(script, encoding="utf-8")
        files = {file: str(folder / file) for file in FILES}
        own = {"GITHUB_ACTIONS": "true", "CI": "true", "RUNNER_OS": "Linux", "RUNNER_TEMP": str(self.temp)}
        ended = subprocess.run(
            [*BASH, str(folder / "script.sh")],
            cwd=self.workspace,
            env=kept | own | {"GITHUB_WORKSPACE": str(self.workspace), "GITHUB_ACTION_PATH": str(self.action)}
            | files | dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )  # fmt: skip
        written = {file: (folder / file).read_text(encoding="utf-8") for file in FILES}
        kept |= read_environment_file(written["GITHUB_ENV"])
        kept["PATH"] = os.pathsep.join([*reversed(written["GITHUB_PATH"].splitlines()), kept["PATH"]])
        err = ended.stderr.decode("utf-8", "replace")
        assert commands(err) == [], "what the runner reads from standard error has no place between other lines"
        return Step(
            name,
            "success" if ended.returncode == 0 else "failure",
            ended.returncode,
            ended.stdout.decode("utf-8", "replace") + err,
            read_environment_file(written["GITHUB_OUTPUT"]),
            written["GITHUB_STEP_SUMMARY"],
        )
