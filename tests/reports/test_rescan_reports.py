"""Summaries of a run over a registry: as files in tests/goldens, against their schemas, and with hostile names."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from lxml import etree
from rich.console import Console
from samples import HOSTILE

from backdoor_gate.fleet import Action, Due, Reason, RegisteredVersion, RescanReport, VersionResult, VersionVerdict
from backdoor_gate.records import PolicyRef, Verdict
from backdoor_gate.reports.rescan import Format, json_v1, junit, markdown, render, rows
from backdoor_gate.reports.rescan.console import line, rescan_view

if TYPE_CHECKING:
    from collections.abc import Callable

XSD = Path(__file__).parents[3] / "shared" / "schemas" / "junit-10.xsd"
SCHEMA = json.loads(resources.files("backdoor_gate.reports").joinpath("schema/rescan-v1.json").read_text("utf-8"))
THEN = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)


def finding(verdict: Verdict, reason: str, classes: tuple[int, ...] = ()) -> VersionVerdict:
    times = (THEN, THEN + timedelta(days=90))
    return VersionVerdict(verdict, (reason,), "0123456789abcdef", *times, "sha256:" + "ab" * 32, classes)


RESULTS = (
    VersionResult(
        RegisteredVersion("digits", "2", ("challenger",)),
        Action.SCANNED,
        1,
        Reason(Due.NO_VERDICT, "no verdict: it was never scanned, or its tags were removed"),
        finding(Verdict.BLOCK, "class 7: a patch of 0.4 % of the image sends 98 % of held-out images there", (7,)),
        counts=True,
        seconds=12.5,
    ),
    VersionResult(
        RegisteredVersion("digits", "1", ("best", "champion"), "Production"),
        Action.KEPT,
        0,
        finding=finding(Verdict.PASS, "kept: scanned on 2026-11-20, valid until 2027-02-18"),
        counts=True,
        seconds=0.25,
    ),
    VersionResult(
        RegisteredVersion("faces", "3", ("champion",)),
        Action.FAILED,
        4,
        faults=("models:/faces/3: registry unreachable; check the tracking URI and that the server runs",),
        counts=True,
    ),
    VersionResult(
        RegisteredVersion("faces", "2"),
        Action.SCANNED,
        5,
        Reason(Due.EXPIRED, "expired on 2026-11-19T02:00:00+00:00"),
        finding(Verdict.PASS, "no evidence of a backdoor under the tests listed"),
        ("models:/faces/2: access denied by the registry",),
        seconds=20.0,
    ),
    VersionResult(RegisteredVersion("faces", "1"), Action.KEPT, 0, finding=finding(Verdict.PASS, "stands")),
)
REPORT = RescanReport(
    started_at=THEN,
    seconds=33.0,
    registry="http://127.0.0.1:5000",
    policy=PolicyRef("gate.yaml", "sha256:" + "cd" * 32),
    detector_pack="2026.11",
    tool_version="0.1.0",
    dry_run=False,
    stale_after=30 * 86400.0,
    results=RESULTS,
    uncovered=("prices", "topics"),
    exit_code=1,
)
DRY = replace(
    REPORT,
    dry_run=True,
    exit_code=0,
    uncovered=(),
    results=tuple(
        replace(result, action=Action.LISTED, exit_code=0, finding=None, faults=()) if result.reason else result
        for result in RESULTS
        if result.action is not Action.FAILED
    ),
)
QUIET = replace(REPORT, exit_code=0, uncovered=(), results=(RESULTS[1], RESULTS[4]))
REPORTS = {"rescan": REPORT, "rescan-dry": DRY, "rescan-quiet": QUIET}
by_report = pytest.mark.parametrize("name", REPORTS)


def hostile(text: str) -> RescanReport:
    """Return a report whose every string is a hostile one."""
    result = VersionResult(
        RegisteredVersion(text, "1", (text,)),
        Action.SCANNED,
        3,
        Reason(Due.UNPROVEN, text),
        replace(finding(Verdict.REFUSED, text), scan_id=text),
        (text,),
        counts=True,
    )
    return replace(REPORT, results=(result,), uncovered=(text,), registry=text, policy=PolicyRef(text, "sha256:0"))


def on_console(report: RescanReport, width: int = 100) -> str:
    console = Console(width=width, color_system=None, force_terminal=False, record=True, quiet=False)
    with console.capture() as captured:
        console.print(rescan_view(report, [("json", Path("out/r.json"))]))
    return re.sub(r" +$", "", captured.get(), flags=re.MULTILINE)


@by_report
def test_goldens(name: str, golden: Callable[[str, str], None]) -> None:
    report = REPORTS[name]
    golden(f"{name}.json", render(report, Format.JSON))
    golden(f"{name}.junit.xml", render(report, Format.JUNIT))
    golden(f"{name}.md", render(report, Format.MARKDOWN))
    golden(f"{name}.txt", on_console(report))


@by_report
def test_json_keeps_to_its_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json_v1.render(REPORTS[name])))


def test_the_schema_knows_every_word() -> None:
    version = SCHEMA["$defs"]["version"]["properties"]
    assert version["due"]["enum"] == [*Due, None]
    assert version["action"]["enum"] == [*Action]
    assert version["verdict"]["enum"] == [*Verdict, None]
    assert set(version) == set(json_v1.VersionV1.__annotations__)


@pytest.mark.parametrize("report", [*REPORTS.values(), *(hostile(text) for text in HOSTILE.values())])
def test_junit_is_valid(report: RescanReport) -> None:
    if not XSD.is_file():
        pytest.skip(f"Jenkins' schema is not at {XSD.name}")
    etree.XMLSchema(etree.parse(str(XSD))).assertValid(etree.fromstring(junit.render(report).encode()))


def test_junit_has_a_suite_per_model_and_a_case_per_version() -> None:
    suites = list(ET.fromstring(junit.render(REPORT)).iter("testsuite"))
    assert [suite.get("name") for suite in suites] == ["backdoor-gate models:/digits", "backdoor-gate models:/faces"]
    found = {
        (case.get("classname"), case.get("name")): next((part.tag for part in case if part.tag != "system-out"), "")
        for case in ET.fromstring(junit.render(REPORT)).iter("testcase")
    }
    assert found == {
        ("models:/digits/2", "version 2 (@challenger)"): "failure",
        ("models:/digits/1", "version 1 (@best, @champion, Production)"): "",
        ("models:/faces/3", "version 3 (@champion)"): "error",
        ("models:/faces/2", "version 2"): "error",
        ("models:/faces/1", "version 1"): "",
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    report = hostile(HOSTILE[name])
    document = json.loads(json_v1.render(report))
    assert document["versions"][0]["verdict"] == "REFUSED"
    texts = (render(report, Format.MARKDOWN), on_console(report), line(report))
    for text in texts:
        assert text.isprintable() or all(char == "\n" or char.isprintable() for char in text)
        text.encode("utf-8")
    table = [row for row in texts[0].splitlines() if row.startswith("| ")]
    assert len(table) == 2
    assert not any("<script" in row.replace("\\<", "") for row in table)
    assert "\n## PASS" not in texts[0]
    assert not any(row.startswith("::") for row in texts[1].splitlines())
    assert len(line(report).splitlines()) == 1


def test_a_large_fleet_stays_readable() -> None:
    kept = [replace(RESULTS[4], version=RegisteredVersion("faces", str(index))) for index in range(2000)]
    due = [replace(RESULTS[3], version=RegisteredVersion("dogs", str(index))) for index in range(600)]
    last = replace(RESULTS[0], version=RegisteredVersion("zebras", "1"), counts=False)
    report = replace(REPORT, results=(*RESULTS[:2], *kept, *due, last))
    shown = [result.version.uri for result in rows.notable(report)]
    assert (len(shown), shown[:2]) == (rows.SHOWN, ["models:/digits/2", "models:/digits/1"])
    assert rows.rest(report) == "2000 versions not in use whose PASS stands and 103 versions in the JSON report alone"
    assert len(markdown.render(report).encode()) < 1 << 20, "GitHub's limit of a step summary"
    assert len(json.loads(json_v1.render(report))["versions"]) == 2603
