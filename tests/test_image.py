"""The Dockerfile, read without building it: stages, variants, arguments, user, entry point, and what goes into it."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
VARIANTS = {"cpu", "cuda"}


@dataclass(frozen=True)
class Instruction:
    """One instruction; `stage` counts the FROM instructions up to it."""

    stage: int
    name: str
    text: str


def instructions() -> list[Instruction]:
    """Return the Dockerfile's instructions, comments left out and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found: list[Instruction] = []
    stage = 0
    for line in lines:
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


ALL = instructions()
STAGES = [one.text for one in ALL if one.name == "FROM"]
LAST = len(STAGES)


def of(name: str, stage: int | None = None) -> list[str]:
    return [one.text for one in ALL if one.name == name and stage in {None, one.stage}]


def test_the_argument_chooses_between_the_variants() -> None:
    named = {stage.rpartition(" AS ")[2] for stage in STAGES if " AS " in stage}
    assert STAGES[-1] == "run-${VARIANT}"
    assert {name.removeprefix("run-") for name in named if name.startswith("run-")} == VARIANTS
    (default,) = (text.partition("=")[2] for text in of("ARG", 0))
    assert default in VARIANTS


def test_no_other_argument_has_a_default() -> None:
    declared = {one.text for one in ALL if one.name == "ARG" and one.stage}
    assert {text for text in declared if "=" in text} == set()
    assert declared == {"VARIANT", "TORCH_INDEX", "VERSION", "REVISION", "CREATED", "SOURCE"}


def test_what_runs_has_no_compiler_no_pip_and_no_source() -> None:
    run = [one for one in ALL if one.stage > 1]
    assert {one.name for one in run} <= {"FROM", "COPY", "ENV", "ARG", "LABEL", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert [one.text for one in run if one.name == "COPY"] == [
        "--from=build /opt/backdoor-gate /opt/backdoor-gate"
    ]  # fmt: skip
    assert "python -m venv --without-pip /opt/backdoor-gate" in of("RUN", 1)


def test_it_starts_without_a_shell_as_nobody_in_particular() -> None:
    (entry,), (command,), (user,) = of("ENTRYPOINT"), of("CMD"), of("USER")
    assert json.loads(entry) == ["/opt/backdoor-gate/bin/backdoor-gate"]
    assert json.loads(command) == ["--help"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert {one.stage for one in ALL if one.name in {"ENTRYPOINT", "USER"}} == {LAST}
    assert not of("HEALTHCHECK")
    assert not of("SHELL")


def test_the_labels_say_where_it_comes_from() -> None:
    labels = dict(re.findall(r'([\w.-]+)="([^"]*)"', of("LABEL", LAST)[0]))
    prefix = "org.opencontainers.image."
    assert {key.removeprefix(prefix) for key in labels if key.startswith(prefix)} == {
        "title", "description", "licenses", "base.name", "version", "revision", "created", "source",
    }  # fmt: skip
    arguments = set(of("ARG", LAST))
    assert {value[2:-1] for value in labels.values() if value.startswith("${")} == arguments
    assert labels[f"{prefix}base.name"] == STAGES[0].partition(" ")[0] == STAGES[1].partition(" ")[0]


def test_only_what_it_is_built_from_is_sent() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    sources = {word for text in of("COPY", 1) for word in text.split()[:-1]}
    assert {line[1:] for line in lines if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("workflow", ["image", "release"])
def test_the_workflows_give_arguments_that_exist(workflow: str) -> None:
    document = yaml.safe_load((ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8"))
    every = [step for job in document["jobs"].values() for step in job["steps"]]
    given = {
        name
        for step in every
        for name in re.findall(r"--build-arg (\w+)", step.get("run", ""))
        + re.findall(r"^(\w+)=", str(step.get("with", {}).get("build-args", "")), re.MULTILINE)
    }
    assert {"VARIANT", "TORCH_INDEX"} <= given <= set(of("ARG", 1)) | set(of("ARG", LAST))


complaint = runpy.run_path(str(ROOT / "scripts" / "check_variant.py"))["complaint"]


@pytest.mark.parametrize(("variant", "cuda"), [("cpu", None), ("cuda", "12.8")])
def test_a_variant_with_its_own_torch_is_built(variant: str, cuda: str | None) -> None:
    assert complaint(variant, cuda) is None


@pytest.mark.parametrize(
    ("variant", "cuda", "words"),
    [("cpu", "12.8", "with CUDA 12.8"), ("cuda", None, "without CUDA"), ("rocm", None, "cpu or cuda")],
)
def test_a_variant_with_another_torch_is_not(variant: str, cuda: str | None, words: str) -> None:
    assert words in complaint(variant, cuda)
    assert "TORCH_INDEX" in complaint(variant, cuda) or variant not in VARIANTS
