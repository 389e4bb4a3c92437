"""A device that is only pretended: for what has to work on a GPU, where there is none.

Its tensors hold their values on the processor, but say that they are elsewhere. As on a GPU, what works on tensors of
both refuses, and a look at a value has to wait for all that was asked for before; waits are counted. Results are those
of the processor to the bit. What it cannot tell is whether a GPU's own kernels compute the same.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "pretended"


@dataclass
class Counts:
    """What was asked of the device.

    Attributes:
        operators: that ran there: what would be launched on a GPU, about.
        waits: how often one had to wait for the device, or for values to get there, by the operator's name.
    """

    operators: int = 0
    waits: Counter[str] = field(default_factory=Counter)


_SO_FAR = Counts()

_LOOKS = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "bincount", "masked_select", "_unique2")
}
"""Operators whose result, or its size, the program has to know."""

_INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}
_MOVES = {"aten::_to_copy", "aten::copy_"}

_AUTOCAST = ("conv2d", "linear", "matmul", "addmm", "mm", "bmm")
"""What runs in lower precision where autocast is on, as on a GPU."""


class Elsewhere(Tensor):
    """A tensor on the device; `held` are its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        """Take the shape and type of the values."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Run one operator."""
        return _run(func, args, kwargs or {})

    def __getitem__(self, at: Any) -> Tensor:
        """Index; a list has to get to the device first."""
        return super().__getitem__(torch.tensor(at) if isinstance(at, list) else at)

    def untyped_storage(self) -> Any:
        """Return where the values are, which tells memory from memory."""
        return self.held.untyped_storage()

    def tolist(self) -> Any:
        """Return the values, once they are there."""
        _SO_FAR.waits["tolist"] += 1
        return self.held.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Refuse, as a tensor on a GPU does."""
        raise TypeError(f"can't convert {NAME} device type tensor to numpy")


class _Module:
    """What torch asks of a kind of device."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _registered() -> tuple[torch.library.Library, ...]:
    """Make the device known to torch; return what keeps it known."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    everything = torch.library.Library("_", "IMPL")
    everything.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    aten = torch.library.Library("aten", "IMPL")
    for name in _AUTOCAST:
        aten.impl(name, _lowered(getattr(torch.ops.aten, name).default), "AutocastPrivateUse1")
    return everything, aten


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what is asked of the device within the block; known after it."""
    operators, waits = _SO_FAR.operators, _SO_FAR.waits.copy()
    found = Counts()
    yield found
    found.operators, found.waits = _SO_FAR.operators - operators, _SO_FAR.waits - waits


@contextmanager
def usable() -> Iterator[torch.device]:
    """Return the device, with what of torch goes around operators made to go through them."""
    tensor, swaps = torch.tensor, torch.__future__.get_swap_module_params_on_conversion()

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        """Make a tensor on the processor first: `torch.tensor` fills memory that it takes for its own."""
        values = tensor(data, **kwargs)
        return values if device is None else values.to(device)

    torch.tensor = made  # type: ignore[assignment]
    torch.__future__.set_swap_module_params_on_conversion(True)  # a module's parameters become tensors of another class
    try:
        yield torch.device(NAME, 0)
    finally:
        torch.tensor = tensor
        torch.__future__.set_swap_module_params_on_conversion(swaps)


def _lowered(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(NAME, enabled=False):
            return operator(*pytree.tree_map(_half, args), **pytree.tree_map(_half, kwargs))

    return run


def _half(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype is torch.float32 else value


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator on the values, and say that what comes of it is where its tensors are."""
    name, device = func._schema.name, kwargs.get("device")
    given = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    here = [each for each in given if not isinstance(each, Elsewhere)]
    there = [each for each in given if isinstance(each, Elsewhere)]
    if here and there and name not in _MOVES:
        _refuse_both(name, args, here)
    _count(name, args, kwargs, here, there)
    _SO_FAR.operators += bool(there)
    result = func(*pytree.tree_map(_value, args), **pytree.tree_map(_value, kwargs))
    goes_there = bool(there) if device is None else torch.device(device).type == NAME
    known = {id(each.held): each for each in there} | {id(each): each for each in here}

    def shown(value: Any) -> Any:
        if not isinstance(value, Tensor) or id(value) in known:
            return known.get(id(value), value)
        return Elsewhere(value) if goes_there else value

    return pytree.tree_map(shown, result)


def _value(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.held if isinstance(value, Elsewhere) else value


def _refuse_both(name: str, args: Any, here: list[Tensor]) -> None:
    """Raise as a GPU does where tensors of both are mixed: single numbers may be, and indices of what is there."""
    indices = args[1] if name in _INDEXING and isinstance(args[0], Elsewhere) else []
    if any(each.dim() and not any(each is index for index in indices) for each in here):
        raise RuntimeError(f"Expected all tensors to be on the same device: {name}")


def _count(name: str, args: Any, kwargs: Any, here: list[Tensor], there: list[Elsewhere]) -> None:
    """Count an operator that looks at values, or takes some from one to the other."""
    device = kwargs.get("device")
    moved = name == "aten::_to_copy" and device is not None and (torch.device(device).type == NAME) != bool(there)
    copied = name == "aten::copy_" and len(here) == len(there) == 1
    indexed = name in _INDEXING and there and (here or any(_is_mask(index) for index in args[1]))
    sized = name == "aten::repeat_interleave" and there and kwargs.get("output_size") is None
    if moved or copied or indexed or sized or (there and name in _LOOKS):
        _SO_FAR.waits[name] += 1


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype is torch.bool


_KEPT = _registered()
"""At once: the first backward pass of a process counts the devices that there are."""
