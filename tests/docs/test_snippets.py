"""Every fenced block of the documents: run, or held against what it speaks of. One that no test knows fails."""

from __future__ import annotations

import re
import typing
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from command_lines import check_call
from pipeline_files import check, commands_of, kind_of
from snippets import DOCUMENTS, ROOT, Block, blocks_of, fences, steps_of

from backdoor_gate import candidate_facts, records
from backdoor_gate.policy import json_schema
from backdoor_gate.verdict.references import References, render

if TYPE_CHECKING:
    from conftest import Workplace

SHELL = {"console", "bash", "sh", "shell"}
ELSEWHERE = (
    ("docs/commands.md", "", "tests/test_docs.py"),
    ("docs/releasing.md", "pin_action", "tests/test_pin_action.py"),
    ("docs/enforcement.md", "mlflow server", "tests/enforcement/test_enforcement_guide.py"),
    ("docs/enforcement.md", "[mlflow]", "tests/enforcement/test_enforcement_guide.py"),
    ("docs/enforcement.md", "accounts", "tests/enforcement/test_enforcement_guide.py"),
)
"""Blocks that need more than a workplace: document, a word of the block, and the test that does what it says."""

BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]


def elsewhere(block: Block) -> str | None:
    return next((test for name, word, test in ELSEWHERE if name == block.document and word in block.body), None)


HERE = [block for block in BLOCKS if not elsewhere(block)]
SHELL_DOCUMENTS = sorted({block.document for block in HERE if block.language in SHELL})
OTHERS = [block for block in HERE if block.language not in SHELL]


def measures(document: str) -> bool:
    """Whether a document opens a model, or asks for what a scan has left."""
    bodies = [block.body for block in HERE if block.document == document and block.language in SHELL]
    opening = r"\b(?:scan|rescan|verify|promote|doctor|init|calibrate) (?:models?[:/]|--|\")"
    return any(re.search(opening, body) for body in bodies)


# ---------------------------------------------------------------------------------------------- nothing is left out


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_fence_belongs_to_a_block_that_is_seen(path: Path) -> None:
    inside = sum(len(re.findall(r"^\s*(?:```|~~~)", block.body, re.MULTILINE)) for block in blocks_of(path))
    assert fences(path) == 2 * len(blocks_of(path)) + inside


@pytest.mark.parametrize(("document", "word", "test"), ELSEWHERE)
def test_what_is_tested_elsewhere_is(document: str, word: str, test: str) -> None:
    source = (ROOT / test).read_text(encoding="utf-8")
    assert (word or Path(document).name) in source
    assert any(block.document == document and word in block.body for block in BLOCKS)


# ---------------------------------------------------------------------------------------------- shell


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in SHELL], ids=str)
def test_calls_name_commands_and_options_that_exist(block: Block) -> None:
    for step in steps_of(block.body):
        if step.command.startswith("backdoor-gate"):
            check_call(step.command)


def test_the_commands_of_the_readme_do_what_it_says(workplace: Workplace) -> None:
    run_document("README.md", workplace)


@pytest.mark.parametrize("document", [name for name in SHELL_DOCUMENTS if not measures(name)])
def test_the_commands_of_a_document_do_what_it_says(document: str, workplace: Workplace) -> None:
    run_document(document, workplace)


@pytest.mark.slow
@pytest.mark.parametrize("document", [name for name in SHELL_DOCUMENTS if measures(name) and name != "README.md"])
def test_the_scans_of_a_document_do_what_it_says(document: str, passed: Workplace) -> None:
    run_document(document, passed)


def run_document(document: str, place: Workplace) -> None:
    blocks = [block for block in HERE if block.document == document and block.language in SHELL]
    if any("key new" in block.body for block in blocks):
        (place.folder / "gate.pub").unlink()
    for block in blocks:
        run_block(block, place)


def run_block(block: Block, place: Workplace) -> None:
    exports = ""
    for step in steps_of(block.body):
        if step.command.startswith("export "):
            exports += f"{step.command.partition('#')[0]}\n"
            continue
        with_own_policy = step.command.startswith("backdoor-gate policy init")
        kept = (place.folder / "policy.yaml").read_bytes()
        if with_own_policy:
            (place.folder / "policy.yaml").unlink()
        done = place.run(exports + step.command)
        if with_own_policy and done.returncode == 0:
            done = place.run("backdoor-gate policy check policy.yaml")
            (place.folder / "policy.yaml").write_bytes(kept)
        shown = done.stdout + done.stderr
        assert done.returncode == 0, f"{block}: {step.command}\n{shown}"
        for line in step.output:
            pattern = "*".join(re.sub(r"([\[*?])", r"[\1]", part) for part in line.strip().split("…"))
            found = any(fnmatch(written.strip(), pattern) for written in shown.splitlines())
            assert found, f"{block}: {step.command} does not say {line!r}\n{shown}"


# ---------------------------------------------------------------------------------------------- everything else


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, marks=pytest.mark.slow) if "audit_model" in block.body else block for block in OTHERS],
    ids=str,
)
def test_a_block_is_what_it_says(block: Block, template: Workplace, tmp_path: Path) -> None:
    testers = {
        "yaml": is_yaml,
        "python": is_python,
        "groovy": is_groovy,
        "": is_drawing,
        "text": is_drawing,
    }
    tester = testers.get(block.language)
    assert tester, f"{block}: no test for a block of {block.language!r}; write one here, or name another in ELSEWHERE"
    tester(block, template.copy(tmp_path / "work"))


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in OTHERS if block.language == "yaml"], ids=str)
def test_the_commands_in_a_pipeline_run(block: Block, workplace: Workplace) -> None:
    for command in commands_of(yaml.safe_load(block.body)):
        done = workplace.run(command)
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"


def is_yaml(block: Block, place: Workplace) -> None:
    content = yaml.safe_load(block.body)
    if isinstance(content, dict) and set(content) <= set(json_schema()["properties"]):
        is_policy(block, place)
        return
    kind = kind_of(content)
    assert kind, f"{block}: no test for this YAML; it is neither a policy nor for a service that is known here"
    check(kind, content, place.folder)
    for command in commands_of(content):
        check_call(command)


def is_policy(block: Block, place: Workplace) -> None:
    """A policy, or some keys of one: `policy check` takes it, once the files that it names are there."""
    whole = block.body if block.body.startswith("version:") else f"version: 1\n{block.body}"
    (place.folder / "shown.yaml").write_text(whole, encoding="utf-8")
    for named in re.findall(r"(?:clean|architecture_path): ([^,}\s]+)", whole):
        (place.folder / named).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / named).mkdir(exist_ok=True) if named.endswith("/") else (place.folder / named).touch()
    for named in re.findall(r"references: (\S+)", whole):
        none = References(detectors={}, data="clean", false_block_rate=0.01)
        (place.folder / named).write_bytes(render(none))
    done = place.run("backdoor-gate policy check shown.yaml")
    assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"


def is_python(block: Block, place: Workplace) -> None:
    (place.folder / "shown.py").write_text(block.body, encoding="utf-8")
    done = place.run("python shown.py")
    assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"


def is_groovy(block: Block, _place: Workplace) -> None:
    """A part of the example that is tested as a whole."""
    example = " ".join((ROOT / "examples" / "jenkins" / "Jenkinsfile").read_text(encoding="utf-8").split())
    assert " ".join(block.body.split()) in example, f"{block}: not a part of examples/jenkins/Jenkinsfile"


def is_drawing(block: Block, _place: Workplace) -> None:
    """A drawing of the architecture: whatever looks like a class is one."""
    names = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*\b", block.body))
    assert names, f"{block}: no test for this block; say in which language it is"
    assert names <= _public_names(), f"{block}: no such record: {names - _public_names()}"


@cache
def _public_names() -> set[str]:
    return {name for name in {**vars(records), **vars(candidate_facts)} if not name.startswith("_")} - set(vars(typing))
