"""state_dict archives: sound ones become networks, hostile ones are refused by rule and run nothing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import re
import struct
import subprocess
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
import torch
from support.forging import (
    FORMATS,
    Payload,
    architecture,
    legacy,
    members,
    pickled,
    rebuilt,
    saved,
    state_archive,
    touching,
    zipped,
)
from torch import nn

from backdoor_gate.errors import GateError, RefusedError, UnmeasuredError, UsageError
from backdoor_gate.scan.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NETS = """
from torch import nn
def build(classes=3):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes))
"""


def network(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes)).eval()


@pytest.fixture
def ours(code: Path) -> Path:
    """The folder with our architecture."""
    (code / "nets_of_ours.py").write_text(NETS)
    return code


def failure(root: Path, code: Path, data: bytes, name: str = "model.pth") -> GateError:
    (root / name).write_bytes(data)
    with pytest.raises(GateError) as caught:
        load(root, FORMATS, architecture(code), None)
    assert name in str(caught.value) or isinstance(caught.value, UsageError)
    return caught.value


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "pytorch_model.bin", "weights"])
def test_a_state_dict_fills_the_architecture(name: str, root: Path, ours: Path) -> None:
    network_ = network()
    (root / name).write_bytes(saved(network_.state_dict()))
    (root / "MLmodel").write_text("flavors: {}")
    (root / "README").write_text("A model.")
    model = load(root, FORMATS, architecture(ours), 3)
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(model.network(images), network_(images))
    assert model.format == "state_dict"
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert model.final_layer is not None
    assert torch.equal(model.final_layer.weight, network_[3].weight)


def test_half_and_double_precision_become_float32(root: Path, ours: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        (root / "model.pth").write_bytes(saved(network().to(dtype).state_dict()))
        loaded = load(root, FORMATS, architecture(ours), 3).network
        assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}


def test_shared_memory_gradients_and_hooks_are_dropped(root: Path, ours: Path) -> None:
    state = network().state_dict()
    state["1.weight"] = state["1.bias"] = state["1.running_var"] = nn.Parameter(torch.ones(4))
    (root / "model.pth").write_bytes(saved(state))
    loaded = load(root, FORMATS, architecture(ours), 3).network
    loaded[1].weight.data.add_(1)
    assert torch.equal(loaded[1].bias, torch.ones(4))
    assert not loaded[1].bias.requires_grad


def popped(value: Payload) -> bytes:
    return pickle.dumps(value, 2)[:-1] + b"0}."


def memoised(value: Payload) -> bytes:
    """The global's name comes from the memo, in the newest protocol."""
    data = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x94\x8c"
    command = str(value.call[1][0]).encode()
    return data + bytes([len(command)]) + command + b"\x85R."


def nested(value: Payload) -> bytes:
    inner = Payload(torch.storage._load_from_bytes, saved(value))
    return pickle.dumps(inner, 2)


GLOBALS: dict[str, tuple[Callable[[Payload], bytes], str]] = {
    "in a zip": (lambda payload: saved({"w": payload}), "posix.system"),
    "bare": (lambda payload: legacy({"w": payload}), "posix.system"),
    "before damage": (lambda payload: state_archive(pickled(payload)[:-1] + b"\xff\xff"), "posix.system"),
    "bare before damage": (lambda payload: pickled(payload)[:-1] + b"\xff\xff", "posix.system"),
    "popped": (lambda payload: state_archive(popped(payload)), "posix.system"),
    "from the memo": (lambda payload: state_archive(memoised(payload)), "posix.system"),
    "nested": (lambda payload: state_archive(nested(payload)), "torch.storage._load_from_bytes"),
    "protocol 0": (lambda payload: pickled(payload, 0), "posix.system"),
    "protocol 5": (lambda payload: state_archive(pickled(payload, 5)), "posix.system"),
}


@pytest.mark.parametrize("case", GLOBALS, ids=str)
def test_globals_outside_the_list_are_named(case: str, root: Path, code: Path, marker: Path) -> None:
    make, name = GLOBALS[case]
    error = failure(root, code, make(touching(marker)))
    assert isinstance(error, RefusedError)
    assert error.what == f"pickle has a global outside the allow-list: {name}"


@pytest.mark.parametrize(
    "function", [subprocess.check_output, __import__, getattr, sys.exit, torch.hub.load], ids=lambda f: f.__qualname__
)
def test_uncommon_globals_are_named_too(function: Callable[..., Any], root: Path, code: Path) -> None:
    error = failure(root, code, saved({"w": Payload(function, "x")}))
    assert "pickle has a global outside the allow-list" in error.what


def test_a_whole_module_is_no_state_dict(root: Path, code: Path) -> None:
    error = failure(root, code, saved(network()))
    assert "pickle has a global outside the allow-list: torch.nn" in error.what
    assert "state_dict" in error.hint


class Sub(torch.Tensor):
    """A tensor subclass."""


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def twice() -> bytes:
    one = rebuilt("Float", (1,), (1,))
    return state_archive(one[:-2] + b"s" + one[3:], _0=struct.pack("<f", 1))


def quantised() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def nested_tensor() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])


FLAT = "state_dict must be a flat mapping of names to tensors"
CONTENTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "list": (lambda: saved([torch.ones(1)]), FLAT),
    "tensor": (lambda: saved(torch.ones(1)), FLAT),
    "nested": (lambda: saved({"state_dict": {"w": torch.ones(1)}, "epoch": 3}), FLAT),
    "numbers": (lambda: saved({"w": 1.5}), FLAT),
    "integer names": (lambda: saved({1: torch.ones(1)}), FLAT),
    "deep": (lambda: state_archive(pickled(deep(450))), FLAT),
    "memo": (lambda: state_archive(b"\x80\x02}q\0X\1\0\0\0wh\0h\0\x86h\0\x86s."), FLAT),
    "set": (lambda: state_archive(b"\x80\x04\x8f."), FLAT),
    "name twice": (twice, "duplicate tensor name"),
    "only a constant": (lambda: state_archive(b"\x80\x02ctorch\nfloat32\n."), FLAT),
    "int8": (lambda: saved({"w": torch.ones(2, dtype=torch.int8)}), "dtype not supported"),
    "complex": (lambda: saved({"w": torch.ones(2, dtype=torch.complex64)}), "dtype not supported"),
    "float8": (lambda: saved({"w": torch.ones(2).to(torch.float8_e4m3fn)}), "dtype not supported"),
    "quantised": (lambda: saved({"w": quantised()}), "dtype not supported"),
    "meta": (lambda: saved({"w": torch.ones(2, device="meta")}), "tensor layout not supported"),
    "sparse": (lambda: saved({"w": torch.eye(2).to_sparse()}), "tensor layout not supported"),
    "nested tensor": (lambda: saved({"w": nested_tensor()}), "tensor layout not supported"),
    "subclass": (lambda: saved({"w": torch.ones(2).as_subclass(Sub)}), "global outside the allow-list: .*Sub"),
    "no tensors": (lambda: saved({}), "no weights"),
    "empty tensor": (lambda: saved({"w": torch.ones(0, 3)}), "no weights|truncated|bytes"),
    "escape in a name": (lambda: saved({"a\x1b[2J": torch.ones(1)}), r"tensor name not allowed: a\\x1b"),
    "newline in a name": (lambda: saved({"a\nb": torch.ones(1)}), "tensor name not allowed"),
    "attribute": (lambda: saved({"fc.__class__": torch.ones(1)}), "tensor name not allowed"),
    "long name": (lambda: saved({"a" * 1_000_000: torch.ones(1)}), "tensor name not allowed"),
    "no name": (lambda: saved({"": torch.ones(1)}), "tensor name not allowed"),
    "too many": (lambda: saved(dict.fromkeys(map(str, range(50_001)), torch.ones(1))), "too many tensors: 50001"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CONTENTS, ids=str)
def test_other_contents_are_refused(case: str, root: Path, code: Path) -> None:
    make, rule = CONTENTS[case]
    error = failure(root, code, make())
    assert isinstance(error, RefusedError)
    assert re.search(rule, error.what), error.what


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model"])
def test_a_checkpoint_is_refused_with_the_line_that_saves_its_weights(
    key: str, root: Path, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network_ = network()
    optimizer = torch.optim.Adam(network_.parameters())
    network_(torch.rand(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 3, key: network_.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    error = failure(root, code, saved(checkpoint))
    assert (error.what, error.where) == (FLAT, "model.pth")
    advice, _, line = error.hint.partition(": ")
    assert advice == "save the weights alone"
    monkeypatch.chdir(root)
    exec(line, {"torch": torch})
    assert torch.load("weights.pt", weights_only=True).keys() == network_.state_dict().keys()


def test_other_contents_are_refused_with_a_line_for_any_model(root: Path, code: Path) -> None:
    for data in (saved([torch.ones(1)]), state_archive(b"\x80\x02]}X\xff\xff\xff\x7f")):
        error = failure(root, code, data)
        if error.what == FLAT:
            assert error.hint == "save the weights alone: torch.save(model.state_dict(), 'weights.pt')"


LAYOUTS = {
    "expanded": (rebuilt("Float", (10**12,), (0,)), "tensor w: shape needs 4.0 TB, storage has 4 B"),
    "overflowing": (rebuilt("Float", (2**62, 2**62), (0, 0)), "tensor w: shape needs .* TB, storage has 4 B"),
    "outside": (rebuilt("Float", (1,), (1,), offset=1), "tensor w: reaches outside its storage"),
    "negative": (rebuilt("Float", (1,), (-1,)), "tensor w: .* non-negative"),
    "ranks": (rebuilt("Float", (1, 1), (1,)), "tensor w: shape and strides do not match"),
    "claim": (rebuilt("Float", (1,), (1,), count=1 << 40), "tensor w: storage says 1099511627776 elements"),
    "other dtype": (rebuilt("Double", (1,), (1,)), "tensor w: storage says 1 elements, its record has 4 bytes"),
}


@pytest.mark.parametrize("case", LAYOUTS, ids=str)
def test_a_tensor_is_covered_by_its_bytes(case: str, root: Path, code: Path) -> None:
    data, rule = LAYOUTS[case]
    error = failure(root, code, state_archive(data, _0=struct.pack("<f", 1)))
    assert re.match(rule, error.what), error.what


def test_sharing_cannot_multiply_the_file(root: Path, code: Path) -> None:
    whole = torch.ones(10_000)
    error = failure(root, code, saved({f"w{index}": whole for index in range(100)}))
    assert error.what == "tensors need 4.0 MB, storages have 40.0 kB"


def test_non_finite_weights_are_unmeasured(root: Path, code: Path) -> None:
    for value in (float("nan"), float("inf")):
        error = failure(root, code, saved({"fc.weight": torch.tensor([1.0, value])}))
        assert isinstance(error, UnmeasuredError)
        assert error.what == "non-finite weights in fc.weight"
    error = failure(root, code, saved({"fc.weight": torch.tensor([1e300], dtype=torch.float64)}))
    assert error.exit_code == 4


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "truncated or not a PyTorch file"),
    "cut in half": (lambda: saved({"w": torch.ones(500)})[:1500], "truncated or not a PyTorch file"),
    "noise": (lambda: bytes(range(256)) * 4, "truncated or not a PyTorch file"),
    "web page": (lambda: b"\n<!DOCTYPE html><html>404</html>", "not a PyTorch file"),
    "git-lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs pointer, not weights"),
    "gzip": (lambda: gzip.compress(pickled({})), "compressed pickle"),
    "bzip2": (lambda: bz2.compress(pickled({})), "compressed pickle"),
    "xz": (lambda: lzma.compress(pickled({})), "compressed pickle"),
    "bare state_dict": (lambda: legacy(OrderedDict(w=torch.ones(1))), "bare pickle; not allowed"),
    "other zip": (lambda: zipped({"a/b.txt": b"1"}), "truncated or not a PyTorch file"),
    "extra member": (
        lambda: zipped({**members(saved({"w": torch.ones(1)})), "archive/x.so": b"1"}),
        "archive member not expected: archive/x.so",
    ),
    "big-endian": (
        lambda: zipped({**members(saved({"w": torch.ones(1)})), "archive/byteorder": b"big"}),
        "byte order not supported",
    ),
    "older export": (lambda: zipped({"serialized_exported_program.json": b"{}"}), "pt2: layout of an older torch"),
}


@pytest.mark.parametrize("case", FILES, ids=str)
def test_other_files_are_refused(case: str, root: Path, code: Path) -> None:
    make, what = FILES[case]
    error = failure(root, code, make())
    assert isinstance(error, RefusedError)
    assert error.what.startswith(what)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(root: Path, code: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(root / "model.pt"))
    with pytest.raises(RefusedError, match="TorchScript is executable; not allowed"):
        load(root, FORMATS, architecture(code), None)


def test_the_override_of_safe_loading_is_a_usage_error(root: Path, ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "model.pth").write_bytes(saved(network().state_dict()))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UsageError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        load(root, FORMATS, architecture(ours), None)
