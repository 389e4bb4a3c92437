"""What references say is in every report that tells of the rate: in force, not in force, and of the gate's own."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

import jsonschema
import pytest
from samples import calibrated, passed

from backdoor_gate.reference_facts import Calibration
from backdoor_gate.reports import json_v1, junit, markdown
from backdoor_gate.reports.explain import explain
from backdoor_gate.reports.reading import parse

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport

SCHEMA = json.loads(resources.files("backdoor_gate.reports").joinpath("schema/report-v1.json").read_text("utf-8"))
NOTE = "50 references support a false-block rate of 0.0196, not 0.01 (that needs 99); the shipped limits decide"


def too_few() -> AuditReport:
    return _with(Calibration(50, 0, 0, 1 / 51, "sha256:" + "23" * 32, p_value=0.5, note=NOTE))


def ours() -> AuditReport:
    return _with(Calibration(120, 0, 1, 2 / 121, "", p_value=0.5, ours=True))


def _with(found: Calibration) -> AuditReport:
    made = passed()
    return replace(made, decision=replace(made.decision, calibration=found))


@pytest.mark.parametrize("report", [calibrated(), too_few(), ours()], ids=["in force", "too few", "ours"])
def test_the_json_report_is_valid_and_read_back(report: AuditReport) -> None:
    text = json_v1.render(report)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    found = parse(text.encode(), "r.json")
    assert found["calibration"] is not None
    assert found["calibration"]["in_force"] is found["calibrated"] is report.decision.calibrated


def test_people_read_where_the_model_stands() -> None:
    in_force, few, own = (markdown.render(report) for report in (calibrated(), too_few(), ours()))
    assert "199, 1 excluded, 0 blocked by the shipped limits, p = 0.37 among them; with 95 % confidence" in in_force
    assert "50, 0 blocked by the shipped limits, p = 0.5 among them; 50 references support" in few
    assert "not calibrated" in few
    assert "- Clean networks of ours: 120; this model among them: p = 0.5, for information" in own


def test_an_explanation_names_the_rank() -> None:
    def told(report: AuditReport) -> str:
        return explain(parse(json_v1.render(report).encode(), "r.json"))

    assert "(measured on reference models; p = 0.37 among 199 references)" in " ".join(told(calibrated()).split())
    own = " ".join(told(ours()).split())
    assert "nominal, not measured on models of yours; p = 0.50 among 120 clean networks of ours" in own


def test_junit_holds_it_as_a_property() -> None:
    assert 'name="backdoor_gate.calibrated" value="true"' in junit.render(calibrated())
    assert 'name="backdoor_gate.references" value="50, p 0.5"' in junit.render(too_few())
    assert 'name="backdoor_gate.references" value=""' in junit.render(ours())
