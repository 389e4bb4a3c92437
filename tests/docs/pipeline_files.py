"""Which service a piece of YAML is for, whether its published schema takes it, and which commands it holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ACTION = "OWNER/backdoor-gate@"
_SCRIPTS = ("script", "bash", "run")


def kind_of(content: Any) -> str | None:
    """Return the service that a piece of YAML is for; None where it is for none that is known."""
    steps = content if isinstance(content, list) else [content]
    keys = {key for step in steps if isinstance(step, dict) for key in step}
    below = {
        key
        for step in steps
        if isinstance(step, dict)
        for value in step.values()
        if isinstance(value, dict)
        for key in value
    }
    for kind, signs in (("github", {"uses", "run"}), ("azure", {"task", "bash"})):
        if isinstance(content, list) and signs & keys:
            return kind
    if "apiVersion" in keys:
        return "kubernetes"
    if "repos" in keys:
        return "pre-commit"
    if "jobs" in keys and isinstance(content["jobs"], dict):
        return "github"
    return "gitlab" if "script" in below else None


def check(kind: str, content: Any, folder: Path) -> None:
    """Fail where a piece of YAML, put into a whole file of its kind, is not what the published schema takes."""
    file = folder / f"{kind}.yaml"
    file.write_text(yaml.safe_dump(_whole(kind, content), sort_keys=False), encoding="utf-8")
    done = subprocess.run([*_CHECKERS[kind], str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if kind == "github":
        _check_inputs(content)


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


_JSONSCHEMA = (_tool("check-jsonschema"), "--builtin-schema")
_CHECKERS = {
    "github": (*_JSONSCHEMA, "vendor.github-workflows"),
    "gitlab": (*_JSONSCHEMA, "vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
    "azure": (*_JSONSCHEMA, "vendor.azure-pipelines", "--data-transform", "azure-pipelines"),
    "kubernetes": (_tool("kubernetes-validate"), "--strict"),
    "pre-commit": (_tool("pre-commit"), "validate-config"),
}


def _whole(kind: str, content: Any) -> Any:
    if kind == "github":
        jobs = (
            {"jobs": {"gate": {"runs-on": "ubuntu-24.04", "steps": content}}} if isinstance(content, list) else content
        )
        # YAML 1.1 reads the key `on` as true.
        return {"on": jobs.get(True, "push"), **{key: value for key, value in jobs.items() if key is not True}}
    return {"steps": content} if kind == "azure" and isinstance(content, list) else content


def _check_inputs(content: Any) -> None:
    """Fail where the action is called with an input that it does not have, or without one that it needs."""
    inputs = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"]
    for step in dictionaries(content):
        if str(step.get("uses", "")).startswith(ACTION):
            given = set(step["with"])
            assert given <= set(inputs), f"the action has no input {given - set(inputs)}"
            assert {name for name, value in inputs.items() if value.get("required")} <= given


def dictionaries(content: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping inside."""
    if isinstance(content, dict):
        yield content
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from dictionaries(value)


def commands_of(content: Any) -> list[str]:
    """Return the lines of shell in a pipeline that call the gate, without what the service itself fills in."""
    scripts = [part[key] for part in dictionaries(content) for key in _SCRIPTS if key in part]
    lines = [line for script in scripts for line in (script if isinstance(script, list) else [script])]
    return [
        line for line in lines if re.search(r"\b(?:backdoor-gate|BACKDOOR_GATE_IMAGE)\b", line) and "${{" not in line
    ]
