"""The JSON report keeps to its published schema, whatever the audit holds."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from importlib import resources
from typing import Any, get_type_hints, is_typeddict

import jsonschema
import numpy as np
import pytest
from PIL import Image
from samples import HOSTILE, REQUIRED, VERDICTS, blocked, hostile, measured, passed, refused

from backdoor_gate.illustrations import Artefact
from backdoor_gate.records import Cost
from backdoor_gate.reports import json_v1
from backdoor_gate.reports.text import clean

SCHEMA = json.loads(resources.files("backdoor_gate.reports").joinpath("schema/report-v1.json").read_text("utf-8"))


def refuse(constant: str) -> None:
    pytest.fail(f"{constant} is not JSON")


def read(text: str) -> dict[str, Any]:
    found = json.loads(text.encode("utf-8"), parse_constant=refuse)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


def test_the_schema_is_one_and_closes_every_object() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = [SCHEMA, *SCHEMA["$defs"].values(), *SCHEMA["properties"].values()]
    for found in objects:
        if found.get("type") == "object":
            assert found["additionalProperties"] is False
            assert sorted(found["required"]) == sorted(found["properties"])


def test_the_schema_has_the_fields_of_the_type() -> None:
    def fields(kind: type) -> dict[str, Any]:
        return get_type_hints(kind)

    assert fields(json_v1.ReportV1).keys() == SCHEMA["properties"].keys()
    for name, hint in fields(json_v1.ReportV1).items():
        if is_typeddict(hint):
            assert fields(hint).keys() == SCHEMA["properties"][name]["properties"].keys()
    assert fields(json_v1.DetectorV1).keys() == SCHEMA["$defs"]["detector"]["properties"].keys()
    assert fields(json_v1.ArtefactV1).keys() == SCHEMA["$defs"]["artefact"]["properties"].keys()


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_valid(verdict: str) -> None:
    found = read(json_v1.render(VERDICTS[verdict]()))
    assert found["verdict"] == verdict.upper()


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_shown_cleaned(name: str) -> None:
    found = read(json_v1.render(hostile(name)))
    for shown in (found["candidate"]["uri"], found["candidate"]["name"], found["policy"]["path"], found["reasons"][0]):
        assert shown == clean(name, 1000)
    assert found["detectors"][0]["name"] == clean(name)


def test_a_refusal_names_what_was_asked_for() -> None:
    found = read(json_v1.render(refused()))
    assert found["candidate"] == {"uri": "models:/digits@challenger", "name": None, "version": None, "digest": None}
    assert found["cost"]["peak_memory"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_become_null(value: float) -> None:
    audit = passed()
    result = measured(
        "a", anomaly_index=value, threshold=value, p_value=value, per_class=(value, 1.0), cost=Cost(value)
    )
    audit = replace(audit, decision=replace(audit.decision, detectors=(result,)), seconds=value)
    found = read(json_v1.render(audit))
    (detector,) = found["detectors"]
    for name in ("anomaly_index", "threshold", "p_value", "seconds"):
        assert detector[name] is None
    assert detector["per_class"] == [None, 1.0]
    assert found["cost"]["seconds"] is None


def test_passes_of_all_detectors_are_summed() -> None:
    assert read(json_v1.render(passed()))["cost"]["model_passes"] == 12_000 * len(REQUIRED)


def test_artefacts_are_small_pictures() -> None:
    audit = blocked()
    big = Artefact("trigger", 2, np.random.default_rng(0).random((3, 500, 300), dtype=np.float32))
    results = (measured("neural_cleanse", artefacts=(big,)),)
    (detector,) = read(json_v1.render(replace(audit, decision=replace(audit.decision, detectors=results))))["detectors"]
    (artefact,) = detector["artefacts"]
    assert artefact["shape"] == [3, 500, 300]
    assert artefact["class"] == 2
    picture = Image.open(io.BytesIO(base64.b64decode(artefact["png"], validate=True)))
    assert picture.mode == "RGB"
    assert max(picture.size) <= json_v1.MAX_PICTURE_SIDE
    assert len(artefact["png"]) < 20_000
