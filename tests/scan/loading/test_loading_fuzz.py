"""Sound files with bytes, members and JSON values changed at random: a network or a clean refusal, nothing else."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from support.forging import FORMATS, exported, members, saved, zipped
from support.mutations import Changes, edited, edits, replaced
from support.small_networks import SHAPE, Normed, Transformer

from backdoor_gate import strict_json
from backdoor_gate.errors import GateError
from backdoor_gate.scan.loading import load, pickles
from backdoor_gate.scan.loading.pt2.expressions import check_expression

SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def seed(kind: str) -> bytes:
    torch.manual_seed(0)
    state = {"fc.weight": torch.ones(2, 3), "bn.num_batches_tracked": torch.tensor(1), "half": torch.ones(2).half()}
    makers = {
        "model.safetensors": lambda: save(state),
        "model.pth": lambda: saved(state),
        "model.pt2": lambda: exported(Normed().eval()),
        "vit.pt2": lambda: exported(Transformer().eval()),
    }
    return makers[kind]()


def survives(name: str, data: bytes) -> None:
    """Load, and if that works run; only the gate's own errors may come out."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(data)
        message = ""
        try:
            model = load(Path(folder), FORMATS, None, None)
            with torch.no_grad():
                model.network(torch.rand(2, *SHAPE))
        except GateError as error:
            message = str(error)
        assert message.isprintable()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.pt2"])
@SETTINGS
@given(changes=edits)
def test_changed_bytes(name: str, changes: Changes) -> None:
    survives(name, edited(seed(name), changes))


@pytest.mark.parametrize("name", ["model.pth", "model.pt2"])
@SETTINGS
@given(changes=edits, which=st.integers(0))
def test_changed_members_of_sound_archives(name: str, changes: Changes, which: int) -> None:
    files = members(seed(name))
    member = sorted(files)[which % len(files)]
    survives(name, zipped({**files, member: edited(files[member], changes)}))


@SETTINGS
@given(changes=edits)
def test_changed_pickles(changes: Changes) -> None:
    files = members(seed("model.pth"))
    changed = edited(files["archive/data.pkl"], changes)
    survives("model.pth", zipped({**files, "archive/data.pkl": changed}))


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.sampled_from([{"as_int": 2**40}, {"as_tensor": {"name": "x"}}, "x", 0, -1, [1] * 9, {"as_name": "x"}]),
)  # fmt: skip


@pytest.mark.parametrize("name", ["model.pt2", "vit.pt2"])
@pytest.mark.parametrize("member", ["models/", "weights_config", "constants_config"])
@SETTINGS
@given(path=st.lists(st.integers(0, 10_000), min_size=1, max_size=14), value=values)
def test_changed_descriptions_of_programs(name: str, member: str, path: list[int], value: Any) -> None:
    files = members(seed(name))
    (found,) = (file for file in files if member in file)
    changed = replaced(json.loads(files[found]), path, value)
    survives(name, zipped({**files, found: json.dumps(changed).encode()}))


@SETTINGS
@given(path=st.lists(st.integers(0, 50), min_size=1, max_size=4), value=values)
def test_changed_headers_of_safetensors(path: list[int], value: Any) -> None:
    data = seed("model.safetensors")
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(replaced(json.loads(data[8:end]), path, value)).encode()
    survives("model.safetensors", len(header).to_bytes(8, "little") + header + data[end:])


@SETTINGS
@given(data=st.binary(max_size=200))
@example(b"\x80\x02(((((t0.")
@example(b"cos\nsystem\n(S'true'\ntR.")
def test_any_bytes_as_a_pickle(data: bytes) -> None:
    for read in (pickles.check_globals, pickles.read_state_dict):
        try:
            read(data, "model.pth")
        except GateError:
            continue


@SETTINGS
@given(data=st.binary(max_size=200))
@example(b"[" * 10_000)
@example(b'{"a":1,"a":1}')
@example(b"Infinity")
def test_any_bytes_as_json(data: bytes) -> None:
    try:
        found = strict_json.parse(data)
    except strict_json.JsonError:
        return
    assert json.loads(data) == found


@SETTINGS
@given(text=st.one_of(st.text(max_size=100), st.text("()+-*%<>=' xs0,.[]Lsize_", max_size=60)))
@example("(" * 1999)
@example("-" * 1999 + "1")
def test_any_text_as_an_expression(text: str) -> None:
    try:
        check_expression(text, "model.pt2")
    except GateError:
        return
    assert "__" not in text
