"""The policy file: what a good one orders, its JSON schema, and that nothing else ever comes of any bytes."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.catalogue import DETECTORS, DetectorPlan
from backdoor_gate.errors import UsageError
from backdoor_gate.policy import ModelPlan, Policy, Signing, json_schema, load, parse
from backdoor_gate.policy.schema import PolicyFile
from backdoor_gate.policy.template import SHIPPED, filled
from backdoor_gate.records import Declared, Limits
from backdoor_gate.verdict.judgement import Judgement

PATH = Path("policy.yaml")

FULL = """\
version: 1
model:
  architecture: my_models.resnet:build
  architecture_path: nets/
  architecture_kwargs: {width: 16, classes: 10}
  num_classes: 10
  input: {shape: [3, 32, 32], range: [-1, 1], normalize: {mean: [0, 0.5, 1], std: [1, 0.5, 2]}}
  formats: [safetensors]
  unsafe_formats: [torchscript]
data: {clean: data/clean.npz, max_images: 200}
false_block_rate: 1e-3
detectors:
  neural_cleanse: {steps: 200}
  final_layer: {required: true}
  max_margin:
limits: {time: 90s, memory: 2GiB, isolation: B}
max_unmeasured: 0
signing: {key: keys/gate.key, trusted: [gate.pub, old/gate.pub]}
verdict_ttl: 30d
"""


def policy(text: str) -> Policy:
    return parse(text.encode(), PATH)


# ---------------------------------------------------------------------------------------------- good policies


def test_every_key_arrives(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(FULL)
    read = load(path)
    assert read.plan_for("anything") == ModelPlan(
        declared=Declared(10, (3, 32, 32), -1.0, 1.0, (0, 0.5, 1), (1, 0.5, 2)),
        architecture="my_models.resnet:build",
        architecture_path=tmp_path / "nets",
        architecture_kwargs=(("classes", 10), ("width", 16)),
        formats=("safetensors",),
        data=str(tmp_path / "data/clean.npz"),
        max_images=200,
        unsafe_formats=("torchscript",),
    )
    assert read.ref.path == str(path)
    assert read.ref.digest == f"sha256:{hashlib.sha256(FULL.encode()).hexdigest()}"
    assert read.limits == Limits(90.0, 2 << 30)
    assert read.minimum_isolation == "B"
    assert read.verdict_ttl == timedelta(days=30)
    assert read.judgement == Judgement(0.001, ("final_layer", "max_margin", "neural_cleanse"), 0)
    assert read.signing == Signing(
        str(tmp_path / "keys" / "gate.key"), (tmp_path / "gate.pub", tmp_path / "old" / "gate.pub")
    )
    assert read.detectors == (
        DetectorPlan("final_layer", True, {}),
        DetectorPlan("max_margin", True, {"restarts": 6, "steps": 60}),
        DetectorPlan("neural_cleanse", True, {"steps": 200, "images": 8, "classes": 100}),
    )


def test_the_shortest_policy_means_the_defaults() -> None:
    read = policy("version: 1")
    assert read.plan_for("x") == ModelPlan(Declared(), None, None, (), ("safetensors", "state_dict", "pt2"), None, None)
    assert read.limits == Limits(3600.0, 8 << 30)
    usual = "B" if sys.platform == "linux" else "C"
    assert (read.minimum_isolation, read.verdict_ttl) == (usual, timedelta(days=90))
    assert [plan.name for plan in read.detectors] == [spec.name for spec in DETECTORS]
    for plan, spec in zip(read.detectors, DETECTORS, strict=True):
        assert plan.required is spec.required
        assert plan.settings == spec.defaults()
    required = tuple(spec.name for spec in DETECTORS if spec.required)
    assert read.judgement == Judgement(0.01, required, 0.2)


def test_the_shipped_policy_means_the_defaults() -> None:
    shipped = load(SHIPPED)
    shortest = policy("version: 1")
    for field in ("detectors", "limits", "minimum_isolation", "verdict_ttl", "judgement", "entries"):
        assert getattr(shipped, field) == getattr(shortest, field)


def test_the_examples_of_the_shipped_policy_are_legal() -> None:
    text = re.sub(r"^( *)# ", r"\1", SHIPPED.read_text(), flags=re.MULTILINE)
    before, models, after = re.split(r"(^models:\n(?:  .*\n)+)", text, flags=re.MULTILINE)
    plan = policy(before + after).plan_for("x")
    assert plan.architecture == "my_models.resnet:build"
    assert plan.declared == Declared(10, (3, 32, 32), 0.0, 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert policy(before + after).detectors == policy("version: 1").detectors
    assert policy(f"version: 1\n{models}").plan_for("digits-a").declared.num_classes == 10


def test_the_template_is_filled_in() -> None:
    values = {"num_classes": 7, "shape": [1, 8, 8], "clean": 'b\\1 "ü" #: x.npz'}
    plan = policy(filled(values)).plan_for("x")
    assert (plan.declared.num_classes, plan.declared.shape) == (7, (1, 8, 8))
    assert plan.data == str(Path.cwd() / 'b\\1 "ü" #: x.npz')


MODELS = """\
version: 1
models:
  - match: "digits-*"
    model: {num_classes: 10}
    data: {clean: digits.npz}
  - match: nets/*.pt2
    model: {num_classes: 5}
  - match: digits-b
    model: {num_classes: 2}
data: {clean: other.npz, max_images: 7}
"""


@pytest.mark.parametrize(
    ("name", "classes", "data", "images"),
    [("digits-b", 10, "digits.npz", None), ("nets/sub/a.pt2", 5, "other.npz", 7)],
)
def test_the_first_entry_that_matches_counts(name: str, classes: int, data: str, images: int | None) -> None:
    plan = policy(MODELS).plan_for(name)
    assert (plan.declared.num_classes, plan.max_images) == (classes, images)
    assert plan.data == str(Path.cwd() / data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("my_models.resnet:build", "my_models.resnet:other"),
        ("width: 16", "width: 17"),
        ("num_classes: 10", "num_classes: 11"),
        ("[3, 32, 32]", "[3, 32, 33]"),
        ("range: [-1, 1]", "range: [0, 1]"),
        ("mean: [0, 0.5, 1]", "mean: [0, 0.5, 0.5]"),
        ("formats: [safetensors]", "formats: [safetensors, pt2]"),
        ("[torchscript]", "[pickle]"),
        ("max_images: 200", "max_images: 201"),
    ],
)
def test_what_an_entry_says_is_in_its_digest(old: str, new: str) -> None:
    before = policy(FULL).entry_digest("x")
    assert re.fullmatch("sha256:[0-9a-f]{64}", before)
    assert FULL.count(old) == 1
    assert policy(FULL.replace(old, new)).entry_digest("x") != before


def test_which_entry_it_is_is_in_its_digest_and_its_places_are_not() -> None:
    found = policy(MODELS)
    assert found.entry_digest("digits-a") == found.entry_digest("digits-b") != found.entry_digest("nets/a.pt2")
    assert policy(MODELS.replace('"digits-*"', '"*"')).entry_digest("digits-a") != found.entry_digest("digits-a")
    moved = FULL.replace("nets/", "elsewhere/").replace("data/clean.npz", "clean.npz")
    assert policy(moved).entry_digest("x") == policy(FULL).entry_digest("x")


def test_no_entry_that_matches_is_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        policy(MODELS).plan_for("Digits-a\x1b")
    told = str(caught.value)
    assert told.startswith("policy.yaml:2: no entry of 'models' matches 'Digits-a\\x1b'; ")
    assert told.endswith("add an entry for it, or a last one with match: '*'")


@pytest.mark.parametrize("name", ["GATE_KEY", "_k9"])
def test_a_key_in_a_variable_is_no_path(name: str) -> None:
    signing = policy(f"version: 1\nsigning: {{key: env:{name}, trusted: [a.pub]}}").signing
    assert signing == Signing(f"env:{name}", (Path.cwd() / "a.pub",))
    assert policy("version: 1").signing is None


@pytest.mark.parametrize("uri", ["runs:/abc/clean.npz", "mlflow-artifacts:/1/data", "s3://bucket/x.npz"])
def test_an_artifact_uri_stays(uri: str) -> None:
    assert policy(f"version: 1\ndata: {{clean: '{uri}'}}").plan_for("x").data == uri


def test_paths_are_checked_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("version: 1\nmodel: {architecture: 'a:b', architecture_path: nets}\ndata: {clean: c.npz}")
    with pytest.raises(UsageError, match=r"architecture_path: no such folder: .*nets; correct the path"):
        load(path).check_paths()
    assert len(tuple(load(path).absent_paths())) == 2
    (tmp_path / "nets").mkdir()
    with pytest.raises(UsageError, match=r"data\.clean: no such file or folder: .*c\.npz; correct the path"):
        load(path).check_paths()
    (tmp_path / "c.npz").touch()
    load(path).check_paths()


# ---------------------------------------------------------------------------------------------- anything at all

keys = st.sampled_from(
    [*PolicyFile.model_fields, "time", "shape", "normalize", "max_margin", "steps", "match", "waivers"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10m", "pt2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def only_policy_or_usage_error(content: bytes) -> None:
    try:
        read = parse(content, PATH)
    except UsageError as error:
        line = str(error)
    else:
        line = read.ref.path
        assert read.judgement.required
    assert line.startswith("policy.yaml")
    assert line.isprintable()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_a_usage_error(content: bytes) -> None:
    only_policy_or_usage_error(content)


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=6))
def test_any_yaml_is_a_policy_or_a_usage_error(document: dict[str, Any]) -> None:
    text = yaml.safe_dump({"version": 1} | document, allow_unicode=True)
    only_policy_or_usage_error(text.encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------------------------------------- the JSON schema


def valid(text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text)))


def test_the_schema_accepts_what_the_gate_accepts() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    for text in (SHIPPED.read_text(), FULL.replace("1e-3", "0.001"), MODELS, "version: 1"):
        assert valid(text), text


@pytest.mark.parametrize(
    "text",
    [
        "version: 2",
        "{}",
        "{version: 1, waivers: []}",
        "{version: 1, false_block_rate: 0}",
        "{version: 1, false_block_rate: 1.0e-320}",
        "{version: 1, false_block_rate: '0.5'}",
        "{version: 1, detectors: {}}",
        "{version: 1, detectors: {nonesuch: {}}}",
        "{version: 1, detectors: {neural_cleanse: {steps: 5}}}",
        "{version: 1, limits: {time: 10}}",
        "{version: 1, limits: {memory: 8GB}}",
        "{version: 1, model: {formats: [onnx]}}",
        "{version: 1, model: {formats: [pickle]}}",
        "{version: 1, model: {unsafe_formats: [pt2]}}",
        "{version: 1, model: {input: {shape: [3, 32]}}}",
        "{version: 1, models: []}",
    ],
)
def test_the_schema_refuses_what_the_gate_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        policy(text)
    assert not valid(text)


def test_the_schema_explains_every_key() -> None:
    sections = [json_schema(), *json_schema()["$defs"].values()]
    silent = [
        f"{section['title']}.{key}"
        for section in sections
        for key, value in section["properties"].items()
        if "description" not in value and not any("$ref" in branch for branch in value.get("anyOf", ()))
    ]
    assert silent == []
    text = json.dumps(json_schema())
    assert all(setting.meaning in text for spec in DETECTORS for setting in spec.settings)
