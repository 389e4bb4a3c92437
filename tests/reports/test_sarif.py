"""SARIF: valid against the standard's schema, a result per finding, and the same fingerprint for the same finding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
from samples import HOSTILE, VERDICTS, blocked, candidate, hostile, inconclusive, measured, passed, refused, report

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import Decision, PolicyRef, Suspicion, Verdict
from backdoor_gate.reports import sarif
from backdoor_gate.reports.text import clean

SCHEMA = Path(__file__).parents[1] / "node_modules" / "@microsoft" / "sarif-multitool-linux" / "sarif-2.1.0.json"
EVERY = {**VERDICTS, **{name: lambda text=text: hostile(text) for name, text in HOSTILE.items()}}


def run_of(audit: Any) -> dict[str, Any]:
    log = json.loads(sarif.render(audit).encode("utf-8"))
    assert log["version"] == "2.1.0"
    return log["runs"][0]


@pytest.fixture(scope="module")
def schema() -> jsonschema.protocols.Validator:
    if not SCHEMA.is_file():
        pytest.skip("the SARIF schema is not there: npm ci --prefix tests")
    found = json.loads(SCHEMA.read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(found)
    return kind(found, format_checker=kind.FORMAT_CHECKER)


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_valid_against_the_standards_schema(make: Any, schema: jsonschema.protocols.Validator) -> None:
    schema.validate(sarif.document(make()))


def test_the_schema_would_notice(schema: jsonschema.protocols.Validator) -> None:
    broken = sarif.document(blocked())
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert not schema.is_valid(broken)


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_every_result_points_to_its_rule_and_a_relative_place(make: Any) -> None:
    run = run_of(make())
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri
        assert not uri.startswith("/")
        assert set(uri) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/%")


def test_a_pass_has_rules_and_no_result() -> None:
    run = run_of(passed())
    assert run["results"] == []
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]][: len(DETECTORS)] == [s.name for s in DETECTORS]
    assert run["invocations"][0] | {"startTimeUtc": ""} == {
        "executionSuccessful": True,
        "exitCode": 0,
        "startTimeUtc": "",
    }


def test_a_rules_help_is_the_catalogues() -> None:
    rules = {rule["id"]: rule for rule in run_of(passed())["tool"]["driver"]["rules"]}
    for spec in DETECTORS:
        for text in (spec.claim, spec.blind_to, spec.source):
            assert text in rules[spec.name]["help"]["text"]


def test_only_what_blocks_is_a_result() -> None:
    (result,) = run_of(blocked())["results"]
    assert (result["ruleId"], result["level"]) == ("neural_cleanse", "error")
    assert result["message"]["text"] == (
        "BLOCK, models:/digits/3: class 7: a patch of 0.4 % of the image sends 98 % of held-out images there; "
        "again 0.0041 from another seed, 97% of the other half (anomaly index 9.13, limit 4.40, p <1e-12)"
    )


def test_what_is_missing_is_a_warning() -> None:
    results = run_of(inconclusive())["results"]
    assert [result["ruleId"] for result in results] == ["neural_cleanse", "spectral_inversion", "warp_inversion"]
    assert {result["level"] for result in results} == {"warning"}
    assert run_of(inconclusive())["invocations"][0]["executionSuccessful"] is False


def test_refused_bytes_are_one_result_about_the_candidate() -> None:
    (result,) = run_of(refused())["results"]
    assert (result["ruleId"], result["level"]) == ("candidate", "error")


def test_a_scan_without_a_verdict_is_one_result_even_where_all_measured() -> None:
    results = tuple(measured(name) for name in refused().expected_detectors)
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.NONE, (), ("no better than guessing",), results)
    (result,) = run_of(report(decision))["results"]
    assert (result["ruleId"], result["level"]) == ("scan", "warning")
    assert "no better than guessing" in result["message"]["text"]


# ---------------------------------------------------------------------------------------------- identity


def fingerprint(audit: Any) -> str:
    return run_of(audit)["results"][0]["partialFingerprints"][sarif.FINGERPRINT]


def test_the_same_finding_keeps_its_fingerprint_in_the_next_version() -> None:
    later = replace(blocked(), candidate=candidate(version="4"), scan_id="f" * 16, seconds=1.0)
    assert fingerprint(later) == fingerprint(blocked())


def test_another_model_or_class_has_another_fingerprint() -> None:
    other_model = replace(blocked(), candidate=candidate("letters"))
    results = tuple(replace(r, suspect_classes=(3,)) if r.blocking else r for r in blocked().decision.detectors)
    other_class = replace(blocked(), decision=replace(blocked().decision, detectors=results))
    assert len({fingerprint(audit) for audit in (blocked(), other_model, other_class, inconclusive())}) == 4


def test_models_do_not_share_a_category() -> None:
    assert run_of(blocked())["automationDetails"]["id"] == "backdoor-gate/digits/0123456789abcdef"
    odd = replace(blocked(), candidate=candidate("a/b c"))
    assert run_of(odd)["automationDetails"]["id"] == "backdoor-gate/a%2Fb%20c/0123456789abcdef"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("gate.yaml", "gate.yaml"),
        ("./gates/a b.yaml", "gates/a b.yaml"),
        ("FOLDER/gates/gate.yaml", "gates/gate.yaml"),
        ("../elsewhere/gate.yaml", "gate.yaml"),
        ("/elsewhere/gate.yaml", "gate.yaml"),
        ("a#?%.yaml", "a#?%.yaml"),
    ],
)
def test_the_policy_is_named_from_the_working_folder(
    path: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    audit = replace(blocked(), policy=PolicyRef(path.replace("FOLDER", str(tmp_path)), "sha256:" + "0" * 64))
    location = run_of(audit)["results"][0]["locations"][0]["physicalLocation"]
    assert unquote(location["artifactLocation"]["uri"]) == uri
    assert location["region"] == {"startLine": 1}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    (result,) = run_of(hostile(name))["results"]
    assert result["ruleId"] == clean(name)
    assert clean(name) in result["message"]["text"]
