"""`action.yml`, held against the scripts it runs, the helper that sets its outputs, and its page in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from support.github_expressions import Expressions

from backdoor_gate import github

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "action.sh"
GUIDE = (ROOT / "docs" / "action.md").read_text(encoding="utf-8")


def read() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return document


def test_inputs_reach_the_script_through_the_environment_only() -> None:
    action = read()
    steps = action["runs"]["steps"]
    assert not [step for step in steps if "${{" in step.get("run", "")]
    used = re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", " ".join(steps[-1]["env"].values()))
    assert sorted([*used, "cache"]) == sorted(action["inputs"])
    assert [step["if"] for step in steps if "if" in step] == ["inputs.cache == 'true'"] * 2
    named = set(re.findall(r"\bGATE_[A-Z_]+", SCRIPT.read_text(encoding="utf-8")))
    assert named == {name for name in steps[-1]["env"] if name.startswith("GATE_")}


def test_outputs_are_those_the_helper_sets() -> None:
    action = read()
    assert list(action["outputs"]) == list(github.Outputs().items())
    unset = {"verdict": " || 'INCONCLUSIVE'", "suspect-classes": " || '[]'"}
    for name, output in action["outputs"].items():
        assert output["value"] == f"${{{{ steps.scan.outputs.{name}{unset.get(name, '')} }}}}"


def test_where_the_scan_was_never_reached_the_outputs_are_those_of_no_report() -> None:
    action = read()
    expressions = Expressions({"steps": {}})
    unset = {name: expressions.fill(output["value"]) for name, output in action["outputs"].items()}
    assert unset == github.Outputs().items()


# ---------------------------------------------------------------------------------------------- docs/action.md


def rows(heading: str) -> list[list[str]]:
    section = re.search(rf"^## {heading}\n(.*?)(?=^## )", GUIDE, re.MULTILINE | re.DOTALL)
    assert section
    lines = re.findall(r"^\| (`.+) \|$", section[1], re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_the_documented_inputs_are_the_actions() -> None:
    documented = {name.strip("`"): (kind, default.strip("`")) for name, kind, default, _ in rows("Inputs")}
    declared = read()["inputs"]
    defaults = {name: "required" if one.get("required") else one["default"] for name, one in declared.items()}
    assert {name: default for name, (_, default) in documented.items()} == defaults
    assert list(documented) == list(declared)
    for name, (kind, default) in documented.items():
        assert (kind == "`true` or `false`") == (default in {"true", "false"}), name
        for word in re.findall(r"`(\w+)`", kind):
            assert word in declared[name]["description"], name


def test_the_documented_outputs_are_the_actions() -> None:
    action = read()
    assert [name.strip("`") for name, *_ in rows("Outputs")] == list(action["outputs"])
    assert all(kind for _, kind, _ in rows("Outputs"))
