"""JUnit as GitLab, Jenkins and Azure Pipelines read it: what each shows is there, and says what was found."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from samples import HOSTILE, VERDICTS, hostile

from backdoor_gate.reports import junit

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport

REPORTS = {**{name: make() for name, make in VERDICTS.items()}, **{name: hostile(HOSTILE[name]) for name in HOSTILE}}
every = pytest.mark.parametrize("audit", REPORTS.values(), ids=REPORTS)

MEGABYTE = 1 << 20
RESULTS = ("failure", "error", "skipped")


def parsed(audit: AuditReport) -> ET.Element:
    return ET.fromstring(junit.render(audit).encode())


def results(case: ET.Element) -> list[ET.Element]:
    return [child for child in case if child.tag in RESULTS]


@every
def test_gitlab_shows_a_suite_a_name_a_time_and_the_reason(audit: AuditReport) -> None:
    document = junit.render(audit).encode()
    assert len(document) < MEGABYTE  # of 30
    root = parsed(audit)
    # A case of the same class and name as one before it is ignored.
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names)
    assert all(classname and name for classname, name in names)
    for case in root.iter("testcase"):
        assert re.fullmatch(r"\d+\.\d{3}", case.get("time"))
        # GitLab shows an element's content, and not its `message`.
        for result in results(case):
            assert result.text
            assert result.text.startswith(result.get("message"))


@every
def test_jenkins_counts_what_it_finds(audit: AuditReport) -> None:
    root = parsed(audit)
    (suite,) = root.findall("testsuite")
    assert suite.get("name")
    assert datetime.fromisoformat(suite.get("timestamp")).tzinfo
    # A case with more than one result would count once, as whichever Jenkins reads first.
    assert all(len(results(case)) <= 1 for case in root.iter("testcase"))
    for total, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"), ("tests", "testcase")):
        assert int(suite.get(total)) == len(list(root.iter(tag)))


@every
def test_azure_shows_a_message_and_the_text_below_it(audit: AuditReport) -> None:
    root = parsed(audit)
    assert root.tag == "testsuites"
    for case in root.iter("testcase"):
        for result in results(case):
            assert result.get("message")
            assert "\n" not in result.get("message")
            assert result.tag == "skipped" or result.get("type") in {"backdoor", "unmeasured"}
