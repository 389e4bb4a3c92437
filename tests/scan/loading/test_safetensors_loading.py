"""safetensors files: the rules of the format, and those that the library leaves to us."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save
from support.forging import FORMATS, architecture, entry, safetensors_file
from torch import nn

from backdoor_gate.errors import RefusedError, UnmeasuredError, UsageError
from backdoor_gate.scan.loading import load
from backdoor_gate.scan.loading.tensors import LARGEST

if TYPE_CHECKING:
    from pathlib import Path

NETS = "from torch import nn\ndef build(classes=3):\n    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))\n"
ONE = struct.pack("<f", 1)
W = entry([1], 0, 4)


def test_weights_fill_the_architecture(root: Path, code: Path) -> None:
    (code / "nets_of_ours.py").write_text(NETS)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    (root / "model.safetensors").write_bytes(save(network.state_dict(), {"format": "pt"}))
    (root / "config.json").write_text("{}")
    model = load(root, FORMATS, architecture(code, classes=5), 5)
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(model.network(images), network(images))
    assert model.format == "safetensors"
    assert model.final_layer is not None
    assert model.final_layer.bias is not None
    assert load(root, FORMATS, architecture(code, classes=5), 4).final_layer is None


def test_without_an_architecture_the_policy_key_is_named(root: Path) -> None:
    (root / "model.safetensors").write_bytes(save({"w": torch.ones(1)}))
    with pytest.raises(UsageError, match=r"model\.architecture: .*only weights"):
        load(root, FORMATS, None, None)


def test_a_format_that_the_policy_leaves_out_is_refused(root: Path) -> None:
    (root / "model.safetensors").write_bytes(save({"w": torch.ones(1)}))
    with pytest.raises(RefusedError, match=r"safetensors is not allowed by the policy; .*model\.formats.* pt2"):
        load(root, ("pt2",), None, None)


FILES = {
    "header of 2^63 bytes": (safetensors_file({}, length=1 << 63), "header too large"),
    "header of 100 MB": (safetensors_file({}, length=100_000_001), "header too large"),
    "eight bytes": (b"\x02" + bytes(7), "file not fully covered"),
    "four bytes": (bytes(4), "file not fully covered"),
    "header cut short": (safetensors_file({"w": W}, length=4000), "file not fully covered"),
    "data cut short": (safetensors_file({"w": W}, ONE[:3]), "file not fully covered"),
    "extra bytes": (safetensors_file({"w": W}, ONE + b"\0"), "file not fully covered"),
    "bad JSON": (safetensors_file(b'{"w": '), "header is not valid JSON"),
    "two documents": (safetensors_file(b'{"a":1}{}'), "header is not valid JSON"),
    "bad UTF-8": (safetensors_file(b'{"\xff": 1}'), "header is not valid JSON"),
    "NaN": (safetensors_file(b'{"w": NaN}'), "header is not valid JSON"),
    "deep": (safetensors_file(b'{"w":' + b"[" * 100_000), "header is not valid JSON: nested too deeply"),
    "long number": (safetensors_file(b'{"w":' + b"9" * 100_000 + b"}"), "header is not valid JSON"),
    "list": (safetensors_file([]), "header is not valid JSON: not an object"),
    "overlap": (safetensors_file({"a": W, "b": W}, ONE), "invalid offset"),
    "hole": (safetensors_file({"a": W, "b": entry([1], 8, 12)}, ONE * 3), "invalid offset"),
    "late start": (safetensors_file({"a": entry([1], 4, 8)}, ONE * 2), "invalid offset"),
    "reversed": (safetensors_file({"a": entry([1], 4, 0)}, ONE), "invalid offset"),
    "shape and bytes": (safetensors_file({"a": entry([2], 0, 4)}, ONE), "invalid offset"),
    "shape overflow": (safetensors_file({"a": entry([1 << 62, 1 << 62], 0, 4)}, ONE), "invalid offset"),
    "negative size": (safetensors_file({"a": entry([-1], 0, 4)}, ONE), "header entry of a is malformed"),
    "size as text": (safetensors_file({"a": {**W, "shape": ["1"]}}, ONE), "header entry of a is malformed"),
    "size as bool": (safetensors_file({"a": {**W, "shape": [True]}}, ONE), "header entry of a is malformed"),
    "many sizes": (safetensors_file({"a": entry([1] * 100_000, 0, 4)}, ONE), "header entry of a is malformed"),
    "no offsets": (safetensors_file({"a": {"dtype": "F32", "shape": [1]}}, ONE), "header entry of a is malformed"),
    "three offsets": (safetensors_file({"a": {**W, "data_offsets": [0, 4, 8]}}, ONE), "header entry of a is malformed"),
    "more keys": (safetensors_file({"a": {**W, "x": 1}}, ONE), "header entry of a is malformed"),
    "entry as list": (safetensors_file({"a": [1]}, ONE), "header entry of a is malformed"),
    "unknown dtype": (safetensors_file({"a": entry([1], 0, 4, "F31")}, ONE), "tensor a: dtype not supported: F31"),
    "float8": (safetensors_file({"a": entry([4], 0, 4, "F8_E4M3")}, ONE), "tensor a: dtype not supported: F8_E4M3"),
    "int8": (safetensors_file({"a": entry([4], 0, 4, "I8")}, ONE), "tensor a: dtype not supported: I8"),
    "dtype as list": (safetensors_file({"a": {**W, "dtype": ["F32"]}}, ONE), "tensor a: dtype not supported"),
    "name twice": (
        safetensors_file(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":1}', ONE),
        "duplicate tensor name: w",
    ),
    "no tensors": (safetensors_file({}), "no weights"),
    "only metadata": (safetensors_file({"__metadata__": {"a": "b"}}), "no weights"),
    "size zero": (safetensors_file({"a": entry([0, 10**18], 0, 0)}), "tensor a: no weights"),
    "escape in a name": (safetensors_file({"a\x1b": W}, ONE), "tensor name not allowed"),
    "attribute": (safetensors_file({"__class__": W}, ONE), "tensor name not allowed"),
}


@pytest.mark.parametrize("case", FILES, ids=str)
def test_a_malformed_file_is_refused(case: str, root: Path) -> None:
    data, rule = FILES[case]
    (root / "model.safetensors").write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        load(root, FORMATS, None, None)
    assert caught.value.what.startswith(rule)
    assert caught.value.where == "model.safetensors"


def test_non_finite_weights_are_unmeasured(root: Path) -> None:
    (root / "model.safetensors").write_bytes(save({"w": torch.tensor([float("-inf")])}))
    with pytest.raises(UnmeasuredError, match="non-finite weights in w"):
        load(root, FORMATS, None, None)


def test_integers_only_where_the_architecture_has_them(root: Path, code: Path) -> None:
    (code / "nets_of_ours.py").write_text("from torch import nn\ndef build():\n    return nn.BatchNorm2d(2)\n")
    state = nn.BatchNorm2d(2).state_dict()
    (root / "model.safetensors").write_bytes(save(state))
    load(root, FORMATS, architecture(code), None)
    for name, dtype in (("weight", torch.int64), ("weight", torch.bool), ("num_batches_tracked", torch.float32)):
        (root / "model.safetensors").write_bytes(save({**state, name: state[name].to(dtype)}))
        with pytest.raises(RefusedError, match=re.escape(f"tensor {name}: dtype not supported")):
            load(root, FORMATS, architecture(code), None)


def test_weights_that_overflow_within_a_few_layers_are_unmeasured(root: Path, code: Path) -> None:
    (code / "nets_of_ours.py").write_text(NETS)
    weights = nn.Sequential(nn.Flatten(), nn.Linear(16, 5)).state_dict()
    weights["1.weight"][0, 0] = LARGEST
    (root / "model.safetensors").write_bytes(save(weights))
    load(root, FORMATS, architecture(code, classes=5), 5)
    weights["1.weight"][0, 0] = -1.1 * LARGEST
    (root / "model.safetensors").write_bytes(save(weights))
    with pytest.raises(UnmeasuredError, match=r"weights in 1\.weight are as large as 1e\+12; beyond 1e\+12"):
        load(root, FORMATS, architecture(code, classes=5), 5)
