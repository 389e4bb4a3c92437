"""The documents, held against the program: help texts, detectors, exit codes, policy keys, links and words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from backdoor_gate import errors
from backdoor_gate.candidate_facts import Candidate
from backdoor_gate.catalogue import DETECTORS, DetectorSpec
from backdoor_gate.policy import json_schema
from backdoor_gate.publishers.mlflow import PREFIX, STATEMENT, VERDICT, result_tags
from backdoor_gate.records import AuditReport, Coverage, Decision, DetectorResult, PolicyRef, Status, Suspicion, Verdict

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
COMMANDS = ROOT / "docs" / "commands.md"
PUBLIC = sorted(
    path
    for pattern in (
        "*.md",
        "*.yml",
        ".*.yaml",
        "*.toml",
        "*.txt",
        "Makefile",
        "Dockerfile",
        ".ci/*",
        ".github/**/*.yml",
    )
    for path in ROOT.glob(pattern)
) + sorted(path for name in ("docs", "examples", "scripts", "backdoor_gate") for path in ROOT.glob(f"{name}/**/*.*"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a document that are in one of these languages."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [body for language, body in fences if language in languages]


def sections(path: Path) -> dict[str, str]:
    """Return a document's second-level sections by heading."""
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# ---------------------------------------------------------------------------------------------- commands

RUN = "import sys; sys.argv[0] = 'backdoor-gate'; from backdoor_gate.cli import main; main()"


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@cache
def help_of(*command: str) -> str:
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


@cache
def commands(*group: str) -> tuple[tuple[str, ...], ...]:
    """Return every command below a group, the group itself first."""
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", help_of(*group), re.MULTILINE)
    names = re.findall(r"^  (\w\S*)", listed[1], re.MULTILINE) if listed else []
    return (group, *(command for name in names for command in commands(*group, name)))


def test_the_help_of_every_command_is_documented_as_it_is(request: pytest.FixtureRequest) -> None:
    expected = "".join(
        f"```console\n$ {' '.join(('backdoor-gate', *command, '--help'))}\n{help_of(*command)}```\n\n"
        for command in commands()
    )
    introduction = COMMANDS.read_text(encoding="utf-8").partition("```")[0]
    if request.config.getoption("--renew-goldens"):
        COMMANDS.write_text(introduction + expected.rstrip("\n") + "\n", encoding="utf-8")
    assert COMMANDS.read_text(encoding="utf-8") == introduction + expected.rstrip("\n") + "\n"
    assert len(commands()) > 5


def test_shown_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {
        word
        for path in DOCUMENTS
        for line in re.findall(r"`?\bmake ([a-z -]+)`", path.read_text())
        for word in line.split()
    } | {
        word
        for path in DOCUMENTS
        for block in blocks(path, "console", "bash")
        for line in re.findall(r"^make (.+)$", block, re.MULTILINE)
        for word in line.split()
    }
    assert {"demo", "test"} <= shown <= targets


# ---------------------------------------------------------------------------------------------- detectors

DETECTOR_SECTIONS = sections(ROOT / "docs" / "detectors.md")


def test_the_documented_detectors_are_the_packs() -> None:
    assert sorted(DETECTOR_SECTIONS) == sorted(spec.name for spec in DETECTORS)


@pytest.mark.parametrize("spec", DETECTORS, ids=lambda spec: spec.name)
def test_a_detectors_section_says_what_the_catalogue_says(spec: DetectorSpec) -> None:
    text = DETECTOR_SECTIONS[spec.name]
    assert f"- **Sees:** {spec.claim}." in text
    assert f"- **Blind to:** {spec.blind_to}." in text
    assert f"- **Value:** {spec.unit}; {spec.side.value} is suspicious." in text
    assert f"- **Source:** {spec.source}." in text
    assert ("- **Default:** required." in text) == spec.required
    (data,) = (line for line in text.splitlines() if line.startswith("- **Data:**"))
    assert data.startswith("- **Data:** clean images") == spec.needs_data
    assert ("it is left out" in data) == bool(spec.without_data)


@pytest.mark.parametrize("spec", DETECTORS, ids=lambda spec: spec.name)
def test_a_detectors_settings_are_documented(spec: DetectorSpec) -> None:
    rows = [f"| `{setting.name}` | {setting.default} | {setting.low} to {setting.high} |" for setting in spec.settings]
    assert re.findall(r"^\| `.*$", DETECTOR_SECTIONS[spec.name], re.MULTILINE) == rows


# ---------------------------------------------------------------------------------------------- exit codes


def _subclasses(kind: type[errors.GateError]) -> set[type[errors.GateError]]:
    return {kind}.union(*(_subclasses(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs" / "exit-codes.md"], ids=name_of)
def test_exit_code_tables_equal_the_program(path: Path) -> None:
    rows = re.findall(r"^\| (\d+) \| (\w*) ?\|", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert {int(code): verdict for code, verdict in rows if verdict} == {
        verdict.exit_code: verdict.value for verdict in Verdict
    }
    codes = {verdict.exit_code for verdict in Verdict} | {kind.exit_code for kind in _subclasses(errors.GateError)}
    assert [int(code) for code, _ in rows] == sorted(codes | {130})
    assert codes | {130} == set(errors.ExitCode)


def test_the_order_over_several_models_is_documented() -> None:
    order = ", ".join(str(int(code)) for code in errors.WORST_FIRST)
    assert f"worst first: {order}." in (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------------------- tags


def test_the_documented_tags_are_those_written() -> None:
    now = datetime.now(UTC)
    report = AuditReport(
        scan_id="0",
        scanned_at=now,
        expires_at=now,
        requested="models:/digits/1",
        candidate=Candidate("models:/digits/1", "models:/digits/1", "digits", "1", Path(), (), "sha256:0"),
        policy=PolicyRef("policy.yaml", "sha256:0"),
        detector_pack="0",
        false_block_rate=0.01,
        decision=Decision(
            Verdict.PASS,
            Suspicion.NONE,
            (),
            ("",),
            (DetectorResult("x", True, Status.MEASURED, "", anomaly_index=1.0),),
        ),
        coverage=Coverage((), ()),
        seconds=0.0,
    )
    written = {VERDICT, STATEMENT, *result_tags(report, "elsewhere")}
    documented = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "tags.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {f"{PREFIX}{name.replace('<detector>', 'x')}" for name in documented} == written


# ---------------------------------------------------------------------------------------------- policies


def policy_keys(schema: dict[str, Any], part: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every key below a part of the policy's schema, dotted, with its default."""
    found: dict[str, Any] = {}
    for key, value in part["properties"].items():
        kinds = [kind for kind in value.get("anyOf", [value]) if kind.get("type") != "null"]
        inner = kinds[0].get("items", kinds[0])
        below = schema["$defs"].get(inner.get("$ref", "").rpartition("/")[2])
        if kinds[0].get("type") == "array" and below:
            found |= {f"{prefix}{key}": None} | {f"{prefix}{key}[].{name}": None for name in below["properties"]}
        elif below and key != "detectors":
            found |= policy_keys(schema, below, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value.get("default")
    return found


def test_every_policy_key_is_documented_with_its_default() -> None:
    schema = json_schema()
    text = sections(ROOT / "docs" / "policy.md")["Keys"]
    documented = re.findall(r"^\| `([^`]+)` \| (?:`([^`]*)`)? ?\|", text, re.MULTILINE)
    assert {key: yaml.safe_load(default) if default else None for key, default in documented} == policy_keys(
        schema, schema
    )


# ---------------------------------------------------------------------------------------------- links and words


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_relative_links_resolve(path: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        reached.add(path)
        links = re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", path.read_text(encoding="utf-8"))
        waiting += [target for link in links if (target := (path.parent / link).resolve()) not in reached]
    assert {name_of(path) for path in DOCUMENTS} <= {name_of(path) for path in reached}


# Written so that this file does not hold them itself.
FORBIDDEN = {
    "an index host": r"(?:p[y]pi|python[h]osted|pytorc[h]|anacond[a])\.(?:org|com)\b",
    "a path of one machine": r"(?<![\w./-])/(?:roo[t]|home/\w|wor[k]/|far[m]/|User[s]/)",
    "an unfinished note": r"\b(?:TOD[O]|FIXM[E]|XX[X])\b",
    "a promise no test can keep": r"(?i)\b(?:is|are|be|proven|provably|completely) (?:safe|secure|clean)\b"
    r"|\bguarantee|\bstate.of.the.art\b|\bbest.in.class\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in PUBLIC
        if path.is_file() and path.suffix not in {".png", ".npz", ".pyc", ".so"} and path.name != "LICENSE"
        for match in re.finditer(FORBIDDEN[what], path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("an index host", "https://download." + "pytorch" + ".org/whl"),
        ("a path of one machine", "see /root/x"),
        ("an unfinished note", "# TO" + "DO: later"),
        ("a promise no test can keep", "then the model is safe"),
    ],
)
def test_forbidden_words_are_noticed(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)
