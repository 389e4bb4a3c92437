"""What every weights file must hold, whatever its format: named, dense, finite tensors that their bytes cover."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.scan.loading.naming import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What weights may be stored as; all are measured in float32."""
INTEGERS = (torch.int64, torch.int32, torch.bool)
"""What buffers such as a batch counter may be stored as."""
MAX_DIMENSIONS = 8
LARGEST = 2.0**40
"""Largest weight or statistic that is measured: beyond, a few layers overflow, and infinities can be a switch."""
_ALIASING = 4
"""How many times over a file's bytes may be used: weights can be shared, but not thousands of times."""
_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor lies in its storage, as the file says it.

    Attributes:
        name: the tensor's name.
        dtype: of its elements.
        sizes: its shape.
        strides: elements between neighbours, per dimension.
        offset: of its first element in the storage, in elements.
        stored: bytes that the file really holds for the storage.
    """

    name: str
    dtype: torch.dtype
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    stored: int

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor needs once it is dense."""
        return prod(self.sizes) * self.dtype.itemsize


def check_layouts(layouts: Iterable[Layout], held: int, where: str) -> None:
    """Refuse a tensor that claims more than its bytes, before anything is made from it.

    Args:
        layouts: all tensors of the file.
        held: bytes of all storages together.
        where: the file.

    Raises:
        RefusedError: a shape is empty or its bytes are not there, or the tensors together expand the file.
    """
    total = 0
    for layout in layouts:
        _check_layout(layout, where)
        total += layout.nbytes
    if total > _ALIASING * held:
        raise RefusedError(f"tensors need {_amount(total)}, storages have {_amount(held)}", where=where)


def _check_layout(layout: Layout, where: str) -> None:
    name = f"tensor {shown(layout.name)}"
    numbers = (*layout.sizes, *layout.strides, layout.offset)
    if len(layout.sizes) != len(layout.strides) or len(layout.sizes) > MAX_DIMENSIONS:
        raise RefusedError(f"{name}: shape and strides do not match", where=where)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise RefusedError(f"{name}: shape, strides and offset must be non-negative integers", where=where)
    if 0 in layout.sizes:
        raise RefusedError(f"{name}: no weights (a dimension of size 0)", where=where)
    if layout.nbytes > layout.stored:
        claim = f"{name}: shape needs {_amount(layout.nbytes)}, storage has {_amount(layout.stored)}"
        raise RefusedError(claim, where=where, hint="save contiguous tensors")
    steps = ((size - 1) * stride for size, stride in zip(layout.sizes, layout.strides, strict=True))
    if (layout.offset + sum(steps) + 1) * layout.dtype.itemsize > layout.stored:
        raise RefusedError(f"{name}: reaches outside its storage", where=where)


def _amount(size: int) -> str:
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{size} B" if unit == 0 else f"{value:,.1f} {_UNITS[unit]}"


def check_dense(name: str, tensor: object, where: str) -> None:
    """Accept an ordinary dense CPU tensor of a supported dtype.

    Raises:
        RefusedError: it is a subclass, sparse, quantised, nested, on another device, or of another dtype.
    """
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise RefusedError(f"tensor {shown(name)}: tensor layout not supported", where=where)
    assert isinstance(tensor, torch.Tensor)
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_nested:
        raise RefusedError(f"tensor {shown(name)}: tensor layout not supported", where=where)
    if tensor.is_quantized or tensor.dtype not in FLOATS + INTEGERS:
        raise unsupported_dtype(name, str(tensor.dtype).removeprefix("torch."), where)


def unsupported_dtype(name: str, dtype: str, where: str) -> RefusedError:
    """Return the error for a tensor of a dtype that no network here is measured in."""
    hint = "save float32, float16, bfloat16 or float64 weights"
    return RefusedError(f"tensor {shown(name)}: dtype not supported: {shown(dtype, 30)}", where=where, hint=hint)


def settle(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return private dense copies: float32 where floating, without gradient, hook or shared memory.

    Raises:
        UnmeasuredError: a value is NaN or infinite, or larger than LARGEST.
    """
    settled = {}
    for name, tensor in tensors.items():
        dtype = torch.float32 if tensor.dtype.is_floating_point else tensor.dtype
        copy = tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)
        if dtype == torch.float32 and not bool(torch.isfinite(copy).all()):
            raise UnmeasuredError(f"non-finite weights in {shown(name)}", where=where, hint="train the model again")
        if dtype == torch.float32 and bool((copy.abs() > LARGEST).any()):
            raise UnmeasuredError(
                f"weights in {shown(name)} are as large as {float(copy.abs().max()):.1g}",
                where=where,
                hint=f"beyond {LARGEST:.0e} float32 overflows within a few layers: train the model again",
            )
        settled[name] = copy
    return settled
