"""The one clear line that each bad policy gets: file, line, key, what is legal, what was found."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.errors import UsageError
from backdoor_gate.policy import load, parse

TOP = (
    "version, model, models, data, false_block_rate, references, detectors, limits, max_unmeasured, signing, "
    "verdict_ttl"
)
NAMES = ", ".join(spec.name for spec in DETECTORS)
RATE = "must be a number between 0.000001 and 0.5"
SHARE = "must be a number of at least 0 and below 1"
TIME = "must be a duration between 1s and 7d, such as 90s, 10m or 1h"
MEMORY = "must be a size between 1GiB and 1TiB, such as 8GiB"
FORMATS = "must be a list of different formats among safetensors, state_dict, pt2"
SHAPE = "must be [channels, height, width], three whole numbers between 1 and 4096"
RANGE = "must be [lowest, highest], two numbers, the first the smaller"
ARGUMENTS = "must be a mapping of argument names to values that JSON can hold"

BAD = [
    # the file
    ("", "policy.yaml: empty; write one with 'backdoor-gate policy init'"),
    ("# only a comment\n", "policy.yaml: empty; write one with 'backdoor-gate policy init'"),
    ("[]", f"policy.yaml:1: must be a mapping with keys among {TOP}"),
    ("text", f"policy.yaml:1: must be a mapping with keys among {TOP}"),
    ("a: b: c", "policy.yaml:1: not valid YAML: mapping values are not allowed here"),
    ("version: 1\nversion: 1", "policy.yaml:2: duplicate key 'version'"),
    ("version: &a 1\n", "policy.yaml:1: YAML aliases not allowed"),
    ("version: !!int 1\n", "policy.yaml:1: YAML tag refused"),
    ("version: 1\nmodel: " + "[" * 20, "policy.yaml:2: nested more than 16 levels deep"),
    ("#" * (1 << 20) + "\n", "policy.yaml: larger than 1 MiB"),
    # keys
    ("model: {}", "policy.yaml:1: version: missing"),
    ("# a comment\nversion: 2", "policy.yaml:2: version: must be 1, got 2"),
    ("version: '1'", 'policy.yaml:1: version: must be 1, got the text "1"'),
    ("version: true", "policy.yaml:1: version: must be 1, got true"),
    ("version: 1.0", "policy.yaml:1: version: must be 1, got 1.0"),
    (
        "version: 1\n\nfalse_blok_rate: 0.1",
        f"policy.yaml:3: false_blok_rate: unknown key; did you mean 'false_block_rate'? legal keys: {TOP}",
    ),
    (
        "version: 1\nlimits:\n  time: 1m\n  tmie: 1m",
        "policy.yaml:4: limits.tmie: unknown key; did you mean 'time'? legal keys: time, memory, isolation",
    ),
    ('version: 1\n"\\e[31m": 1', f"policy.yaml:2: '\\x1b[31m': unknown key; legal keys: {TOP}"),
    ("version: 1\nreferences: []", "policy.yaml:2: references: must be text on one line, got []"),
    ("version: 1\nsigning:", "policy.yaml:2: signing: is empty; fill it in, or remove the key"),
    ("version: 1\nsigning: {key: gate.key}", "policy.yaml:2: signing.trusted: missing"),
    (
        "version: 1\nsigning: {trusted: []}",
        "policy.yaml:2: signing.trusted: must be a list of different public key files, got []",
    ),
    (
        "version: 1\nsigning: {trusted: gate.pub}",
        'policy.yaml:2: signing.trusted: must be a list of different public key files, got the text "gate.pub"',
    ),
    (
        "version: 1\nsigning: {key: 'env:', trusted: [a]}",
        (
            "policy.yaml:2: signing.key: must be a path, or env:NAME with the name of an environment variable, "
            'got the text "env:"'
        ),
    ),
    ("version: 1\nwaivers: []", "policy.yaml:2: waivers: not supported by this version; remove it"),
    # numbers
    *(
        (f"version: 1\nfalse_block_rate: {text}", f"policy.yaml:2: false_block_rate: {RATE}, got {shown}")
        for text, shown in [
            (".nan", "NaN"),
            (".inf", "Infinity"),
            ("-0.01", "-0.01"),
            ("0", "0"),
            ("0.0000001", "1e-07"),
            ("0.51", "0.51"),
            ("true", "true"),
            ("", "nothing"),
            ("'0.5'", 'the text "0.5"'),
            ("1e2", 'the text "1e2"'),
            ("[0.1]", "[0.1]"),
        ]
    ),
    *(
        (f"version: 1\nmax_unmeasured: {text}", f"policy.yaml:2: max_unmeasured: {SHARE}, got {shown}")
        for text, shown in [(".nan", "NaN"), ("-0.1", "-0.1"), ("1", "1"), ("'0.2'", 'the text "0.2"')]
    ),
    # detectors
    (
        "version: 1\ndetectors: {}",
        "policy.yaml:2: detectors: is empty; name at least one detector, or leave the key out for the default set",
    ),
    ("version: 1\ndetectors:\n", "policy.yaml:2: detectors: is empty; fill it in, or remove the key"),
    ("version: 1\ndetectors: [max_margin]", f"policy.yaml:2: detectors: must be a mapping with keys among {NAMES}"),
    (
        "version: 1\ndetectors: {final_layer: }",
        "policy.yaml:2: detectors: no detector is required; set 'required: true' on at least one",
    ),
    (
        "version: 1\ndetectors:\n  neural_clense:\n",
        f"policy.yaml:3: detectors.neural_clense: unknown key; did you mean 'neural_cleanse'? legal keys: {NAMES}",
    ),
    (
        "version: 1\ndetectors:\n  neural_cleanse:\n    steps: 5",
        "policy.yaml:4: detectors.neural_cleanse.steps: must be a whole number between 10 and 5000, got 5",
    ),
    (
        "version: 1\ndetectors:\n  max_margin: {restarts: 65}",
        "policy.yaml:3: detectors.max_margin.restarts: must be a whole number between 1 and 64, got 65",
    ),
    (
        "version: 1\ndetectors:\n  max_margin: {steps: 60.5}",
        "policy.yaml:3: detectors.max_margin.steps: must be a whole number between 5 and 1000, got 60.5",
    ),
    (
        "version: 1\ndetectors:\n  max_margin: {required: yes}",
        'policy.yaml:3: detectors.max_margin.required: must be true or false, got the text "yes"',
    ),
    (
        "version: 1\ndetectors:\n  final_layer: {steps: 10}",
        "policy.yaml:3: detectors.final_layer.steps: unknown key; legal keys: required",
    ),
    (
        "version: 1\ndetectors: {max_margin: on}",
        "policy.yaml:2: detectors.max_margin: must be a mapping with keys among required, restarts, steps",
    ),
    # limits and lifetimes
    ("version: 1\nlimits: {time: 10}", f"policy.yaml:2: limits.time: {TIME}, got 10"),
    ("version: 1\nlimits: {time: 10:00}", f'policy.yaml:2: limits.time: {TIME}, got the text "10:00"'),
    ("version: 1\nlimits: {time: 0s}", f'policy.yaml:2: limits.time: {TIME}, got the text "0s"'),
    ("version: 1\nlimits: {time: 8d}", f'policy.yaml:2: limits.time: {TIME}, got the text "8d"'),
    ("version: 1\nlimits: {memory: 8GB}", f'policy.yaml:2: limits.memory: {MEMORY}, got the text "8GB"'),
    ("version: 1\nlimits: {memory: 1MiB}", f'policy.yaml:2: limits.memory: {MEMORY}, got the text "1MiB"'),
    ("version: 1\nlimits: {isolation: D}", 'policy.yaml:2: limits.isolation: must be A, B or C, got the text "D"'),
    ("version: 1\nlimits: 10m", "policy.yaml:2: limits: must be a mapping with keys among time, memory, isolation"),
    (
        "version: 1\nverdict_ttl: 90",
        "policy.yaml:2: verdict_ttl: must be a duration between 1h and 3650d, such as 90d, got 90",
    ),
    # models
    ("version: 1\nmodel: {}\nmodels: [{match: x}]", "policy.yaml:3: models: stands beside 'model'; keep one of them"),
    ("version: 1\nmodels: []", "policy.yaml:2: models: must not be empty, got []"),
    ("version: 1\nmodels: {}", "policy.yaml:2: models: must be a list, got {}"),
    ("version: 1\nmodels:\n  - match: a\n  - model: {}", "policy.yaml:4: models[1].match: missing"),
    (
        "version: 1\nmodels:\n  - match: a\n    model: {num_classes: 1}",
        "policy.yaml:4: models[0].model.num_classes: must be a whole number between 2 and 100000, got 1",
    ),
    (
        "version: 1\nmodel: {num_classes: 10.0}",
        "policy.yaml:2: model.num_classes: must be a whole number between 2 and 100000, got 10.0",
    ),
    ("version: 1\nmodel: {formats: []}", f"policy.yaml:2: model.formats: {FORMATS}, got []"),
    ("version: 1\nmodel: {formats: [onnx]}", f'policy.yaml:2: model.formats: {FORMATS}, got ["onnx"]'),
    ("version: 1\nmodel: {formats: [pt2, pt2]}", f'policy.yaml:2: model.formats: {FORMATS}, got ["pt2", "pt2"]'),
    ("version: 1\nmodel: {formats: pt2}", f'policy.yaml:2: model.formats: {FORMATS}, got the text "pt2"'),
    ("version: 1\nmodel: {input: {shape: [3, 32]}}", f"policy.yaml:2: model.input.shape: {SHAPE}, got [3, 32]"),
    ("version: 1\nmodel: {input: {shape: [3, 32, 0]}}", f"policy.yaml:2: model.input.shape: {SHAPE}, got [3, 32, 0]"),
    (
        "version: 1\nmodel: {input: {range: [1, 0]}}",
        f"policy.yaml:2: model.input.range: {RANGE}, got [1, 0]",
    ),
    (
        "version: 1\nmodel: {input: {range: [0, .inf]}}",
        f"policy.yaml:2: model.input.range: {RANGE}, got [0, Infinity]",
    ),
    (
        "version: 1\nmodel:\n  input:\n    normalize: {mean: [0], std: [0]}",
        "policy.yaml:4: model.input.normalize.std: must be a list of numbers above 0, one for each channel, got [0]",
    ),
    (
        "version: 1\nmodel:\n  input:\n    normalize: {mean: [0]}",
        "policy.yaml:4: model.input.normalize.std: missing",
    ),
    (
        "version: 1\nmodel:\n  input:\n    shape: [3, 8, 8]\n    normalize: {mean: [0, 0, 0], std: [1]}",
        "policy.yaml:5: model.input.normalize.std: has 1 values for 3 channels",
    ),
    (
        "version: 1\nmodel: {architecture: build}",
        'policy.yaml:2: model.architecture: must be package.module:callable, got the text "build"',
    ),
    (
        "version: 1\nmodel:\n  architecture_path: nets",
        "policy.yaml:3: model.architecture_path: means nothing without model.architecture",
    ),
    (
        "version: 1\nmodel: {architecture: 'a:b', architecture_kwargs: {n: .nan}}",
        f'policy.yaml:2: model.architecture_kwargs: {ARGUMENTS}, got {{"n": NaN}}',
    ),
    (
        "version: 1\nmodel: {architecture: 'a:b', architecture_kwargs: {not a name: 1}}",
        f'policy.yaml:2: model.architecture_kwargs: {ARGUMENTS}, got {{"not a name": 1}}',
    ),
    # data
    (
        'version: 1\ndata: {clean: "a\\0b"}',
        'policy.yaml:2: data.clean: must be text on one line, got the text "a\\u0000b"',
    ),
    ('version: 1\ndata: {clean: ""}', 'policy.yaml:2: data.clean: must be text on one line, got the text ""'),
    (
        "version: 1\ndata: {max_images: 0}",
        "policy.yaml:2: data.max_images: must be a whole number between 1 and 100000, got 0",
    ),
]


def complaint(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text.encode(), Path("policy.yaml"))
    return str(caught.value)


@pytest.mark.parametrize(("text", "line"), BAD, ids=lambda value: ascii(value)[:50])
def test_a_bad_policy_gets_one_clear_line(text: str, line: str) -> None:
    assert complaint(text) == line


def test_the_first_fault_in_the_file_is_named() -> None:
    text = "version: 1\nverdict_ttl: 0\nlimits:\n  memory: 0\n  time: 0\nmax_unmeasured: 7\n"
    assert complaint(text).startswith("policy.yaml:2: verdict_ttl: ")
    assert complaint(text.replace("verdict_ttl: 0", "verdict_ttl: 1d")).startswith("policy.yaml:4: limits.memory: ")


def test_what_else_is_wrong_comes_with_the_first_fault() -> None:
    text = "version: 1\nverdict_ttl: 0\nlimits:\n  memory: 0\n  time: 0\nmax_unmeasured: 7\n"
    with pytest.raises(UsageError) as caught:
        parse(text.encode(), Path("policy.yaml"))
    places = [str(each).split(": must")[0] for each in (caught.value, *caught.value.others)]
    assert places == [
        "policy.yaml:2: verdict_ttl",
        "policy.yaml:4: limits.memory",
        "policy.yaml:5: limits.time",
        "policy.yaml:6: max_unmeasured",
    ]


def test_long_values_are_cut() -> None:
    assert len(complaint(f"version: 1\nlimits: {{time: {'x' * 5000}}}")) < 250
    assert len(complaint(f"version: 1\n{'k' * 500}: 1")) < 400


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    hint = "write one with 'backdoor-gate policy init'"
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory; {hint}"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="not a regular file; name the policy's YAML file"):
            load(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load(Path("a\0b"))
    if os.geteuid() != 0:
        closed = tmp_path / "closed.yaml"
        closed.touch(stat.S_IWUSR)
        with pytest.raises(UsageError, match="cannot be read: Permission denied"):
            load(closed)
