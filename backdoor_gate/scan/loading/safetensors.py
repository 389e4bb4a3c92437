"""safetensors files: the header checked for what the library lets through, then read by the library.

The library accepts a name given twice, an empty file and empty tensors.
Source: the format's description in the safetensors repository.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from backdoor_gate import strict_json
from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.naming import check_tensor_names, shown
from backdoor_gate.scan.loading.tensors import (
    MAX_DIMENSIONS,
    Layout,
    check_dense,
    check_layouts,
    settle,
    unsupported_dtype,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

MAX_HEADER_BYTES = 32 << 20
_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}


def read(path: Path, where: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, float32 where floating.

    Args:
        path: the file.
        where: its name for messages.

    Raises:
        RefusedError: the header is malformed, or does not cover the file exactly.
        UnmeasuredError: a weight is not finite.
    """
    _check(path, where)
    try:
        loaded = load_file(path, device="cpu")
    except (SafetensorError, ValueError, OSError) as error:
        raise RefusedError("not a valid safetensors file", where=where, hint="save the weights again") from error
    for name, tensor in loaded.items():
        check_dense(name, tensor, where)
    return settle(loaded, where)


def _check(path: Path, where: str) -> None:
    header, held = _header(path, where)
    header.pop("__metadata__", None)
    check_tensor_names(header, where)
    spans = []
    layouts = []
    for name, entry in header.items():
        layout, span = _entry(name, entry, where)
        layouts.append(layout)
        spans.append(span)
    spans.sort()
    if spans[0][0] or any(before[1] != after[0] for before, after in itertools.pairwise(spans)):
        raise RefusedError("invalid offset: tensors overlap or leave holes", where=where)
    if spans[-1][1] != held:
        raise RefusedError("file not fully covered", where=where, hint="upload the file again")
    check_layouts(layouts, held, where)


def _header(path: Path, where: str) -> tuple[dict[str, Any], int]:
    """Return the header's object and the number of bytes after it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else 0
        if length > MAX_HEADER_BYTES:
            raise RefusedError("header too large", where=where, hint="upload the file again")
        if length < 2 or length + 8 > size:
            raise RefusedError("file not fully covered", where=where, hint="upload the file again")
        raw = file.read(length)
    try:
        header = strict_json.parse(raw)
    except strict_json.DuplicateNameError as error:
        raise RefusedError(f"duplicate tensor name: {shown(str(error))}", where=where) from error
    except strict_json.JsonError as error:
        raise RefusedError(f"header is not valid JSON: {error}", where=where) from error
    if not isinstance(header, dict):
        raise RefusedError("header is not valid JSON: not an object", where=where)
    return header, size - 8 - length


def _entry(name: str, entry: object, where: str) -> tuple[Layout, tuple[int, int]]:
    """Return the layout that one header entry claims, and its first and last byte."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise RefusedError(f"header entry of {shown(name)} is malformed", where=where)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise unsupported_dtype(name, str(dtype), where)
    numbers = (*shape, *offsets) if isinstance(shape, list) and isinstance(offsets, list) else (None,)
    countable = all(type(number) is int and number >= 0 for number in numbers)
    if not countable or len(offsets) != 2 or len(shape) > MAX_DIMENSIONS:
        raise RefusedError(f"header entry of {shown(name)} is malformed", where=where)
    first, last = offsets
    strides = tuple(itertools.accumulate(reversed(shape[1:]), int.__mul__, initial=1))[::-1] if shape else ()
    layout = Layout(name, _DTYPES[dtype], tuple(shape), strides, 0, last - first)
    if last < first or (0 not in shape and layout.nbytes != last - first):
        raise RefusedError(f"invalid offset: bytes of {shown(name)} do not match its shape", where=where)
    return layout, (first, last)
