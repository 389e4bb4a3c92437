"""`torch.save(model.state_dict())` files: described by the pickle reader first, then read with `weights_only=True`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backdoor_gate import prerequisites
from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading import pickles
from backdoor_gate.scan.loading.archive import SAVED
from backdoor_gate.scan.loading.naming import check_tensor_names, shown
from backdoor_gate.scan.loading.tensors import Layout, check_dense, check_layouts, settle

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from backdoor_gate.scan.loading.archive import Archive

MAX_PICKLE_BYTES = 32 << 20
"""Of the pickled description; the numbers themselves lie in records of their own."""


def read(path: Path, archive: Archive, where: str) -> dict[str, Tensor]:
    """Return the tensors of a state_dict archive by name, float32 where floating.

    Args:
        path: the file.
        archive: its checked members.
        where: its name for messages.

    Raises:
        UsageError: this torch or its environment does not keep to `weights_only`.
        RefusedError: more, or other things, than a flat mapping of names to dense tensors.
        UnmeasuredError: a weight is not finite.
    """
    prerequisites.check()
    described = _describe(archive, where)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        hint = "upload the file again"
        raise RefusedError("truncated or not a PyTorch file", where=where, hint=hint) from error
    if not isinstance(loaded, dict) or loaded.keys() != described.keys():
        raise RefusedError("archive inconsistent: two readings of its pickle differ", where=where)
    for name, tensor in loaded.items():
        check_dense(name, tensor, where)
    return settle(loaded, where)


def _describe(archive: Archive, where: str) -> dict[str, Layout]:
    """Return the layout of each tensor, all of them checked against the records that hold them."""
    root = archive.names[0].partition("/")[0]
    strange = [name for name in archive.names if not SAVED.fullmatch(name.removeprefix(f"{root}/"))]
    if strange:
        raise RefusedError(f"archive member not expected: {shown(strange[0])}", where=where)
    if archive.size(f"{root}/data.pkl") > MAX_PICKLE_BYTES:
        raise RefusedError(f"data.pkl larger than {MAX_PICKLE_BYTES >> 20} MiB", where=where)
    data = archive.read(f"{root}/data.pkl")
    pickles.check_globals(data, where)
    stored = pickles.read_state_dict(data, where)
    check_tensor_names(stored, where)
    records = {name.removeprefix(f"{root}/data/"): archive.size(name) for name in archive.names if "/data/" in name}
    layouts = {name: _layout(name, tensor, records, where) for name, tensor in stored.items()}
    check_layouts(layouts.values(), sum(records.values()), where)
    if f"{root}/byteorder" in archive.names and archive.read(f"{root}/byteorder") != b"little":
        raise RefusedError("byte order not supported", where=where, hint="save it on a little-endian machine")
    return layouts


def _layout(name: str, tensor: pickles.Stored, records: dict[str, int], where: str) -> Layout:
    dtype = getattr(torch, tensor.dtype)
    held = records.get(tensor.key, -1)
    if held != tensor.count * dtype.itemsize:
        what = f"tensor {shown(name)}: storage says {tensor.count} elements, its record has {max(held, 0)} bytes"
        raise RefusedError(what, where=where)
    if not isinstance(tensor.sizes, tuple) or not isinstance(tensor.strides, tuple):
        raise RefusedError(f"tensor {shown(name)}: shape and strides do not match", where=where)
    return Layout(name, dtype, tensor.sizes, tensor.strides, tensor.offset, held)
