"""JUnit: every required detector is a test case, and nothing but a PASS comes out green."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from samples import HOSTILE, REQUIRED, VERDICTS, blocked, hostile, measured, passed, refused, report

from backdoor_gate.records import AuditReport, Cost, Decision, DetectorResult, Status, Suspicion, Verdict
from backdoor_gate.reports import junit
from backdoor_gate.reports.findings import findings
from backdoor_gate.reports.text import clean

XSD = Path(__file__).parents[3] / "shared" / "schemas" / "junit-10.xsd"


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    if not XSD.is_file():
        pytest.skip(f"Jenkins' schema is not at {XSD.name}")
    return etree.XMLSchema(etree.parse(str(XSD)))


def states(audit: AuditReport) -> dict[str, str]:
    """Return the test cases of an audit in order, each as the element that says what became of it."""
    found = {}
    for case in ET.fromstring(junit.render(audit)).iter("testcase"):
        kinds = [child.tag for child in case if child.tag != "system-out"] or ["passed"]
        assert len(kinds) == 1
        found[case.get("name")] = kinds[0]
    return found


def bodies(audit: AuditReport, tag: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(junit.render(audit)).iter(tag)]


@pytest.mark.parametrize("make", [*VERDICTS.values(), *(lambda n=n: hostile(n) for n in HOSTILE.values())])
def test_valid_against_jenkins_schema(make: object, schema: etree.XMLSchema) -> None:
    schema.assertValid(etree.fromstring(junit.render(make()).encode()))


def test_passes_are_listed_in_the_order_of_the_policy() -> None:
    assert list(states(passed()).items()) == [(name, "passed") for name in REQUIRED] + [("final_layer", "skipped")]
    turned = replace(passed(), expected_detectors=REQUIRED[::-1])
    assert [*states(turned)][:4] == [*REQUIRED[::-1]]


def test_what_has_nothing_to_measure_is_skipped_though_required() -> None:
    whole = passed()
    others, first = whole.decision.detectors[:-1], whole.decision.detectors[-1]
    reason = "with two classes every attack is all-to-one"
    needless = replace(first, status=Status.NOT_APPLICABLE, reason=reason, excused=True)
    audit = replace(whole, decision=replace(whole.decision, detectors=(needless, *others)))
    assert states(audit)[first.name] == "skipped"
    assert findings(audit) == ()
    given = replace(audit, decision=replace(whole.decision, detectors=(replace(needless, excused=False), *others)))
    assert states(given)[first.name] == "error", "an excuse of the candidate's own is none"


def test_only_the_blocking_detector_fails() -> None:
    found = states(blocked())
    assert found.pop("neural_cleanse") == "failure"
    assert set(found.values()) == {"passed", "skipped"}
    assert "9.13" in bodies(blocked(), "failure")[0]


def test_a_refusal_is_an_error_of_every_required_detector_with_its_reason() -> None:
    assert states(refused()) == dict.fromkeys(REQUIRED, "error")
    assert set(bodies(refused(), "error")) == {refused().decision.reasons[0]}


def test_a_required_detector_without_a_result_is_an_error_even_beside_a_pass() -> None:
    audit = passed()
    fewer = replace(audit, decision=replace(audit.decision, detectors=audit.decision.detectors[:-1]))
    assert states(fewer)["warp_inversion"] == "error"


@pytest.mark.parametrize("status", [Status.INCONCLUSIVE, Status.NOT_APPLICABLE])
def test_unmeasured_is_skipped_only_where_it_is_not_required(status: Status) -> None:
    results = (DetectorResult("a", True, status, "crashed"), DetectorResult("b", False, status, "crashed"))
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.NONE, (), ("a crashed",), results)
    assert states(report(decision, expected_detectors=("a",))) == {"a": "error", "b": "skipped"}
    listed = replace(results[1], name="a")
    assert states(report(replace(decision, detectors=(listed,)), expected_detectors=("a",))) == {"a": "error"}


def test_a_detector_that_blocks_fails_although_it_is_not_required() -> None:
    result = measured("extra", required=False, blocking=True)
    decision = Decision(Verdict.BLOCK, Suspicion.NONE, (), ("extra",), (result, *passed().decision.detectors))
    assert states(report(decision))["extra"] == "failure"


@pytest.mark.parametrize("verdict", [Verdict.BLOCK, Verdict.INCONCLUSIVE, Verdict.REFUSED])
def test_a_reason_that_no_detector_carries_is_everyones_error(verdict: Verdict) -> None:
    audit = passed()
    found = replace(audit, decision=replace(audit.decision, verdict=verdict, reasons=("unattested format",)))
    assert [states(found)[name] for name in REQUIRED] == ["error"] * 4
    assert bodies(found, "error") == ["unattested format"] * 4


@pytest.mark.parametrize("verdict", Verdict)
def test_no_required_detector_is_an_error(verdict: Verdict) -> None:
    audit = report(Decision(verdict, Suspicion.NONE, (), ("so",)), expected_detectors=())
    assert states(audit) == {"required detectors": "error"}


RESULTS = st.builds(
    DetectorResult,
    name=st.sampled_from("abcd"),
    required=st.booleans(),
    status=st.sampled_from(Status),
    reason=st.text(max_size=5),
    blocking=st.booleans(),
    cost=st.builds(Cost, st.floats()),
)


@given(st.sampled_from(Verdict), st.lists(RESULTS, max_size=4), st.lists(st.sampled_from("abcde")))
def test_anything_but_a_pass_fails_somewhere(verdict: Verdict, results: list[DetectorResult], names: list[str]) -> None:
    decision = Decision(verdict, Suspicion.NONE, (), ("why",), tuple(results))
    found = states(report(decision, expected_detectors=tuple(names)))
    assert set(names) <= set(found)
    assert found
    if verdict is not Verdict.PASS:
        assert {"failure", "error"} & set(found.values())


def test_a_time_of_zero_and_long_decimals_are_kept(schema: etree.XMLSchema) -> None:
    audit = report(
        Decision(
            Verdict.PASS,
            Suspicion.NONE,
            (),
            ("so",),
            (measured("a", cost=Cost(0.0)), measured("b", cost=Cost(0.1 + 0.2))),
        )
    )
    root = ET.fromstring(junit.render(replace(audit, expected_detectors=("a", "b"))))
    assert [case.get("time") for case in root.iter("testcase")] == ["0.000", "0.300"]
    assert root.find("testsuite").get("time") == "0.300"
    schema.assertValid(etree.fromstring(junit.render(audit).encode()))


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_read_back_as_cleaned(name: str) -> None:
    root = ET.fromstring(junit.render(hostile(name)).encode())
    (case,) = root.iter("testcase")
    assert case.get("name") == clean(name)
    assert case.get("classname") == clean(name)
    assert case.find("failure").text.startswith(clean(name, 1000))
    assert b"\x1b" not in junit.render(hostile(name)).encode()


def test_counts_agree_with_the_cases() -> None:
    for make in VERDICTS.values():
        root = ET.fromstring(junit.render(make()))
        for element in (root, root.find("testsuite")):
            assert int(element.get("tests")) == len(list(root.iter("testcase")))
            assert int(element.get("failures")) == len(list(root.iter("failure")))
            assert int(element.get("errors")) == len(list(root.iter("error")))
