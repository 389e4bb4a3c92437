"""Inputs 46 to 65: what tensors say of themselves, and safetensors headers."""

from __future__ import annotations

import io
import struct
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from support.forging import entry, pickled, rebuilt, safetensors_file, saved, state_archive
from table import REFUSED, UNMEASURED, Bench, Row, weights
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = struct.pack("<f", 1)
W = entry([1], 0, 4)
STATE_DICT, SAFE = "model.pth", "model.safetensors"


def state(weight: Tensor | None = None) -> dict[str, Tensor]:
    """Weights for the policy's network."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand((10, 64), generator=generator) if weight is None else weight
    return {"1.weight": weight, "1.bias": torch.zeros(10)}


def with_value(value: float) -> bytes:
    weight = torch.ones(10, 64)
    weight[3, 5] = value
    return save(state(weight))


class Returns(nn.Module):
    """A classifier whose output is changed."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fc, self.change = nn.Linear(64, 10), change

    def forward(self, x: Tensor) -> Any:
        """Return the changed output."""
        return self.change(self.fc(x.flatten(1)))


def returning(change: Callable[[Tensor], Any]) -> Callable[[Bench], None]:
    def make(bench: Bench) -> None:
        torch.manual_seed(0)
        network = Returns(change).eval()
        free = [{0: torch.export.Dim.AUTO}]
        bench.put("model.pt2", exported_for(network, free))

    return make


def exported_for(network: nn.Module, free: Any) -> bytes:
    """Export for the policy's images."""
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=free), buffer)
    return buffer.getvalue()


def quantised() -> Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def nested() -> Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(450):
        value = [value]
    return value


def saved_quietly(value: Any) -> bytes:
    with warnings.catch_warnings(action="ignore"):
        return saved(value)


def laid_out(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    return state_archive(rebuilt("Float", sizes, strides), _0=ONE)


def refused(number: int, what: str, words: str, data: bytes | Callable[[Bench], bytes], name: str = STATE_DICT) -> Row:
    return Row(number, what, REFUSED, words, weights(name, data))


def header(number: int, what: str, words: str, header: Any, data: bytes = b"") -> Row:
    return refused(number, what, words, safetensors_file(header, data), SAFE)


FLAT = "state_dict must be a flat mapping of names to tensors"
DTYPE, LAYOUT, NAME = "dtype not supported", "tensor layout not supported", "tensor name not allowed"
INVALID, JSON, COVERED = "invalid offset", "header is not valid JSON", "file not fully covered"
LOADING = "tests/scan/loading/test_state_dict_loading.py"
ROWS = (
    refused(46, "expanded", "tensor w: shape needs 4.0 TB, storage has 4 B", laid_out((10**12,), (0,))),
    refused(47, "overflowing shape", "TB, storage has 4 B", laid_out((2**62, 2**62), (0, 0))),
    Row(48, "NaN", UNMEASURED, "non-finite weights in 1.weight", weights(SAFE, with_value(float("nan")))),
    Row(48, "infinity", UNMEASURED, "non-finite weights in 1.weight", weights(SAFE, with_value(float("inf")))),
    Row(
        49,
        "all zero",
        UNMEASURED,
        "model output carries no information",
        weights(SAFE, save(state(torch.zeros(10, 64)))),
        own_process=True,
    ),
    Row(50, "NaN out", UNMEASURED, "model output invalid: not finite", returning(lambda y: y * 1e38 * 1e38 * 0)),
    Row(50, "wrong shape out", UNMEASURED, "model output invalid: shape", returning(lambda y: y.unsqueeze(1))),
    Row(50, "wrong class count", UNMEASURED, "model output invalid: 7 classes", returning(lambda y: y[:, :7])),
    Row(
        50,
        "something else than a tensor",
        UNMEASURED,
        "model output invalid",
        covered_by=("tests/scan/network/test_subject.py::test_an_output_that_cannot_be_measured",),
    ),
    refused(
        51, "other keys", "weights do not fit tiny_net:build: missing 1.weight", save({"2.weight": torch.ones(1)}), SAFE
    ),
    refused(51, "other shapes", "mis-shaped 1.weight", save(state(torch.ones(10, 65))), SAFE),
    *(
        refused(
            52,
            str(dtype).removeprefix("torch."),
            DTYPE,
            lambda _, dtype=dtype: saved(state(torch.ones(10, 64).to(dtype))),
        )
        for dtype in (torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn)
    ),
    refused(52, "quantised", DTYPE, lambda _: saved_quietly({"w": quantised()})),
    refused(53, "meta", LAYOUT, lambda _: saved({"w": torch.ones(2, device="meta")})),
    refused(53, "sparse", LAYOUT, lambda _: saved_quietly({"w": torch.eye(2).to_sparse()})),
    refused(53, "nested", LAYOUT, lambda _: saved_quietly({"w": nested()})),
    refused(54, "list", FLAT, saved([torch.ones(1)])),
    refused(54, "nested mapping", FLAT, saved({"state_dict": {"w": torch.ones(1)}, "epoch": 3})),
    refused(54, "names that are numbers", FLAT, saved({1: torch.ones(1)})),
    refused(54, "memo", FLAT, state_archive(b"\x80\x02}q\0X\1\0\0\0wh\0h\0\x86h\0\x86s.")),
    refused(54, "deep", FLAT, state_archive(pickled(deep()))),
    refused(55, "escape in a name", NAME, saved({"a\x1b[2J": torch.ones(1)})),
    refused(55, "newline in a name", NAME, saved({"a\nb": torch.ones(1)})),
    refused(55, "attribute as a name", NAME, saved({"fc.__class__": torch.ones(1)})),
    refused(55, "name of a megabyte", NAME, lambda _: saved({"a" * 10**6: torch.ones(1)})),
    refused(55, "too many", "too many tensors", lambda _: saved(dict.fromkeys(map(str, range(50_001)), torch.ones(1)))),
    Row(
        56,
        "names that share memory",
        0,
        "copied",
        covered_by=(f"{LOADING}::test_shared_memory_gradients_and_hooks_are_dropped",),
    ),
    Row(
        57,
        "gradients and hooks",
        0,
        "dropped",
        covered_by=(f"{LOADING}::test_shared_memory_gradients_and_hooks_are_dropped",),
    ),
    Row(
        58,
        "slow forward",
        UNMEASURED,
        "out of time",
        covered_by=(
            "tests/scan/test_session.py::test_what_does_not_fit_the_time_is_inconclusive_and_the_rest_is_told",
        ),
    ),
    refused(59, "header of 2^63 bytes", "header too large", safetensors_file({}, length=1 << 63), SAFE),
    refused(59, "header of 100 MB", "header too large", safetensors_file({}, length=100_000_001), SAFE),
    header(60, "truncated data", COVERED, {"w": W}, ONE[:3]),
    header(60, "extra bytes", COVERED, {"w": W}, ONE + b"\0"),
    header(61, "bad JSON", JSON, b'{"w": '),
    header(61, "bad UTF-8", JSON, b'{"\xff": 1}'),
    header(61, "deep JSON", JSON, b'{"w":' + b"[" * 100_000),
    header(62, "overlapping", INVALID, {"a": W, "b": W}, ONE),
    header(62, "holes", INVALID, {"a": W, "b": entry([1], 8, 12)}, ONE * 3),
    header(63, "shape overflow", INVALID, {"a": entry([1 << 62, 1 << 62], 0, 4)}, ONE),
    header(63, "shape and offsets", INVALID, {"a": entry([2], 0, 4)}, ONE),
    header(63, "negative size", "header entry of a is malformed", {"a": entry([-1], 0, 4)}, ONE),
    header(63, "unknown dtype", DTYPE, {"a": entry([1], 0, 4, "F31")}, ONE),
    header(
        64,
        "name twice",
        "duplicate tensor name: w",
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":1}',
        ONE,
    ),
    header(65, "no tensors", "no weights", {}),
    header(65, "size zero", "no weights", {"a": entry([0, 10**18], 0, 0)}),
)
