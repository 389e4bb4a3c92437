"""A file of references is read back as it was written, or refused in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.catalogue import COMPARABLE_PACKS, PACK_VERSION, DetectorPlan
from backdoor_gate.errors import UsageError
from backdoor_gate.verdict.references import MAX_BYTES, KnownModel, ModelKind, References, parse, render

PLANS = (DetectorPlan("neural_cleanse", required=True, settings={"steps": 120, "images": 12}),)
SETTINGS = {"neural_cleanse": {"steps": 120, "images": 12}}


def reference(number: int, **changes: Any) -> KnownModel:
    digest = f"sha256:{number:064x}"
    kind = ModelKind(classes=10, shape=(1, 28, 28), architecture="nets:build")
    made = {"name": f"models:/a/{number}", "digest": digest, "kind": kind, "blocked": False, "scores": {}}
    return KnownModel(**(made | changes))


def population(*models: KnownModel) -> References:
    return References(detectors=SETTINGS, data="clean", false_block_rate=0.01, models=models)


FILE = population(
    reference(1, scores={"neural_cleanse": -0.5}), reference(2, blocked=True), reference(3, excluded=True)
)


def test_it_is_read_as_it_was_written() -> None:
    assert parse(render(FILE), "r.json") == FILE
    assert render(parse(render(FILE), "r.json")) == render(FILE)


def test_who_counts() -> None:
    assert [model.name for model in FILE.counted] == ["models:/a/1", "models:/a/2"]
    assert (FILE.blocked, FILE.smallest_rate) == (1, 2 / 3)
    assert population(*(reference(k) for k in range(99))).smallest_rate == 0.01
    assert len(FILE.without(f"sha256:{1:064x}").models) == 2


def test_it_fits_the_same_detectors_only() -> None:
    assert FILE.unfit(PLANS) is None
    other = (DetectorPlan("neural_cleanse", required=True, settings={"steps": 60, "images": 12}),)
    assert FILE.unfit(other) == "the references were measured with other settings of neural_cleanse"
    more = (*PLANS, DetectorPlan("max_margin", required=True, settings={}))
    assert FILE.unfit(more) == "the references were measured with other settings of max_margin"
    assert all(FILE.model_copy(update={"detector_pack": pack}).unfit(PLANS) is None for pack in COMPARABLE_PACKS)
    old = FILE.model_copy(update={"detector_pack": "2025.1.1"})
    assert old.unfit(PLANS) == f"the references were measured with detector pack 2025.1.1, this is {PACK_VERSION}"


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(render(FILE)) | changes).encode()


def model(**changes: Any) -> bytes:
    return changed(models=[json.loads(render(FILE))["models"][0] | changes])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no references of the gate"),
        (b'{"format": 1}', "no references of the gate"),
        (b" " * (MAX_BYTES + 1), "larger than 16 MiB"),
        (b'{"version": 1, "version": 1}', "not JSON"),
        (changed(version=2), "of a version that is not known"),
        (changed(extra=1), "not valid: extra: "),
        (changed(false_block_rate=0.7), "not valid: false_block_rate: "),
        (changed(false_block_rate="0.01"), "not valid: false_block_rate: "),
        (changed(data="mixed"), "not valid: data: "),
        (changed(models=[json.loads(render(FILE))["models"][0]] * 2), "a model is listed twice"),
        (model(scores={"neural_cleanse": 1e9}), "not valid: models.0.scores.neural_cleanse: "),
        (model(scores={"neural_cleanse": float("nan")}), "not JSON"),
        (model(scores={"neural_cleanse": None}), "not valid: models.0.scores.neural_cleanse: "),
        (model(digest="sha256:0"), "not valid: models.0.digest: "),
        (model(blocked=0), "not valid: models.0.blocked: "),
        (model(kind={"classes": 1, "shape": [1, 2, 3]}), "not valid: models.0.kind.classes: "),
        (model(kind={"classes": 3, "shape": [1, 2]}), "not valid: models.0.kind.shape"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_file_of_references(content: bytes, line: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(content, "r.json")
    text = str(raised.value)
    assert text.startswith("r.json: ")
    assert line in text
    assert "\n" not in text
    assert "'backdoor-gate calibrate" in text


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(["models", "detectors", "data", "false_block_rate", "detector_pack", "version", "format"]),
)
def test_any_value_anywhere_is_read_or_refused(value: object, key: str) -> None:
    line = "r.json"
    try:
        parse(changed(**{key: value}), "r.json")
    except UsageError as error:
        line = str(error)
    assert line.startswith("r.json")
    assert line.isprintable()
