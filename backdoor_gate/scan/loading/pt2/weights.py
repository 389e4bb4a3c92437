"""Weights and constants of an exported program: raw records, cut into tensors by their description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.scan.loading.naming import check_tensor_names, shown
from backdoor_gate.scan.loading.pt2.document import check_payloads
from backdoor_gate.scan.loading.pt2.members import Package, refused
from backdoor_gate.scan.loading.pt2.scalars import SCALAR_TYPES, STRIDED, check_float32
from backdoor_gate.scan.loading.tensors import Layout, check_layouts, settle, unsupported_dtype

if TYPE_CHECKING:
    from torch import Tensor


def read_weights(package: Package) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the state (parameters and kept buffers) and the constants, by name.

    Raises:
        RefusedError: a record is pickled, unused, missing, or does not cover its tensor; or one name stands for two.
        UnmeasuredError: a value is not finite, or in another precision than float32.
    """
    used: dict[str, int] = {}
    state = _layouts(package, package.weights, "data/weights/", used)
    constants = _layouts(package, package.constants, "data/constants/", used)
    check_payloads(package.weights, package.where)
    check_payloads(package.constants, package.where)
    _check_apart({*state}, {*constants}, package.where)
    records = {
        name for name in package.archive.names if "/data/weights/weight_" in name or "/data/constants/tensor_" in name
    }
    if records - used.keys():
        raise refused(f"archive member not referenced: {shown(min(records - used.keys()))}", package.where)
    every = [layout for layout, _ in (*state.values(), *constants.values())]
    check_tensor_names(state, package.where)
    if constants:
        check_tensor_names(constants, package.where)
    check_layouts(every, sum(used.values()), package.where)
    return _cut(package, state), _cut(package, constants)


def _layouts(
    package: Package, config: dict[str, Any], folder: str, used: dict[str, int]
) -> dict[str, tuple[Layout, str]]:
    """Return the layout of each tensor of a configuration and the record it lies in; note the records in `used`."""
    entries = config.get("config")
    if not isinstance(entries, dict):
        raise refused(f"{folder} has no configuration", package.where)
    found = {}
    kinds: dict[str, torch.dtype] = {}
    for name, entry in entries.items():
        try:
            record, meta = f"{package.root}{folder}{entry['path_name']}", entry["tensor_meta"]
            pickled, (sizes, strides, offset) = entry["use_pickle"], _numbers(meta)
        except (KeyError, TypeError, AttributeError) as error:
            raise refused(f"description of {shown(name)} is malformed", package.where) from error
        if pickled is not False or not meta:
            raise refused(f"pickled or custom object: {shown(name)}", package.where)
        if record not in package.archive.names:
            raise refused(f"record of {shown(name)} is missing", package.where)
        dtype = SCALAR_TYPES.get(meta.get("dtype")) if isinstance(meta.get("dtype"), int) else None
        if dtype is None:
            raise unsupported_dtype(name, f"scalar type {meta.get('dtype')}", package.where)
        check_float32(dtype, f"holds {shown(name)}", package.where)
        if meta.get("layout") != STRIDED:
            raise refused(f"tensor {shown(name)}: tensor layout not supported", package.where)
        if kinds.setdefault(record, dtype) != dtype:
            raise refused(f"record of {shown(name)} is of two dtypes", package.where)
        used[record] = package.archive.size(record)
        found[name] = Layout(name, dtype, sizes, strides, offset, used[record]), record
    return found


def _check_apart(state: set[str], constants: set[str], where: str) -> None:
    """Refuse a name in both, and one that would be an attribute of another's tensor: PyTorch keeps one of the two."""
    names = state | constants
    parents = {name.rpartition(".")[0] for name in names} - {""}
    while parents - names and (more := {name.rpartition(".")[0] for name in parents} - parents - {""}):
        parents |= more
    twice = (state & constants) | (parents & names)
    if twice:
        raise refused(f"one name for two tensors: {shown(min(twice))}", where)


def _numbers(meta: dict[str, Any] | None) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    if not meta:
        return (), (), 0
    sizes = tuple(size["as_int"] for size in meta["sizes"])
    strides = tuple(stride["as_int"] for stride in meta["strides"])
    return sizes, strides, meta["storage_offset"]["as_int"]


def _cut(package: Package, layouts: dict[str, tuple[Layout, str]]) -> dict[str, Tensor]:
    """Return private dense tensors; tensors that share a record are separate copies."""
    found: dict[str, Tensor] = {}
    for name, (layout, record) in layouts.items():
        storage = bytearray(package.archive.read(record))
        count = len(storage) // layout.dtype.itemsize
        flat = torch.frombuffer(storage, dtype=layout.dtype, count=count)
        found |= settle({name: flat.as_strided(layout.sizes, layout.strides, layout.offset)}, package.where)
    return found
