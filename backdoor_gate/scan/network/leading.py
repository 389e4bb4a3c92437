"""The operators of a pass that leads a search: which have a shorter way to the same, and which stay in float32.

What is frozen needs no gradient to its weights, and a rectifier before a maximum costs less after it: the largest of
rectified values is the largest value, rectified. So a rectifier waits until its output is asked for; where that is for
a pooling, the pooling goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)
from torch.overrides import TorchFunctionMode

from backdoor_gate.scan.network import gradients, winograd
from backdoor_gate.scan.network.watching import tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable

_aten = torch.ops.aten

_CONVOLUTIONS = {torch.conv2d, _aten.conv2d.default, _aten.conv2d.padding}
_LINEAR = {F.linear, _aten.linear.default, _aten.addmm.default}
_RECTIFIERS = {F.relu, torch.relu, Tensor.relu, _aten.relu.default}
_RECTIFIERS_IN_PLACE = {torch.relu_, Tensor.relu_, _aten.relu_.default}
_MAXIMA = {F.max_pool2d, torch.max_pool2d, _aten.max_pool2d.default}
_SHORTER: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    F.batch_norm: gradients.functional_normalisation,
    torch.batch_norm: gradients.normalisation,
    _aten.batch_norm.default: gradients.normalisation,
    F.adaptive_avg_pool2d: gradients.adaptive_mean,
    _aten.adaptive_avg_pool2d.default: gradients.adaptive_mean,
}

_MARK = "_rectified_later"
"""Attribute of a tensor that stands for its own rectified values: those, once they are there, and before that the
version of its memory, which counts what is written there."""


class Leading(TorchFunctionMode):
    """Gives what is frozen its shorter way, whoever calls it: the same values, and gradients but for rounding."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._rectified_in_place: dict[int, StorageWeakRef] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator."""
        named = dict(kwargs or {})
        if "self" in named:  # as graphs call them
            args = (named.pop("self"), *args)
        self._check_aliases([*args, *named.values()])
        if func in _MAXIMA and args and _waits(args[0]):
            return gradients.rectified_maxima(func, *args, **named)
        args, named = tuple(map(_arrived, args)), {name: _arrived(value) for name, value in named.items()}
        if self._begun and (func in _RECTIFIERS or func in _RECTIFIERS_IN_PLACE):
            return self._later(func, *args, **named)
        if func in _SHORTER:
            return _SHORTER[func](*args, **named)
        if func not in _CONVOLUTIONS:
            return self._run(func, args, named)
        if self._begun:
            return self._further(func, args, named)
        self._begun = True
        return self._first(args, named)

    def _later(self, func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Tensor:  # noqa: A002 (the operator's own name)
        """Return a stand-in for the rectified values.

        What is rectified in place is its own stand-in, for whoever else holds it.
        """
        in_place = inplace or func in _RECTIFIERS_IN_PLACE
        stand_in = input if in_place else input.view_as(input)
        setattr(stand_in, _MARK, stand_in._version)
        if in_place:
            storage = input.untyped_storage()
            self._rectified_in_place[storage.data_ptr()] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return stand_in

    def _check_aliases(self, values: list[Any]) -> None:
        """Refuse to go on where memory that is to be rectified in place is read by another name.

        Raises:
            RuntimeError: it is: whoever reads there finds values that are not rectified yet.
        """
        if not self._rectified_in_place:
            return
        for tensor in tensors_in(values):
            if _MARK not in tensor.__dict__:
                storage = self._rectified_in_place.get(tensor.untyped_storage().data_ptr())
                if storage is not None and not storage.expired():  # type: ignore[no-untyped-call]
                    raise RuntimeError("rectified in place, and read by another name")

    def _first(self, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        """Run the first convolution."""
        return gradients.convolution(*args, **named)

    def _further(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Run another convolution."""
        return winograd.convolution(*args, **named)

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Run what has no shorter way."""
        return func(*args, **named)


class LeadingInHalf(Leading):
    """Keeps the ends of a pass in float32 besides, where the rest is in bfloat16."""

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self._device_type = device_type

    def _first(self, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        rounded: Tensor = self._exactly(gradients.rounded_convolution, args, named)
        return rounded

    def _further(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return func(*args, **named)

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return self._exactly(func, args, named) if func in _LINEAR else func(*args, **named)

    def _exactly(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        with torch.autocast(self._device_type, enabled=False):
            return func(*map(_single, args), **{name: _single(value) for name, value in named.items()})


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value


def _waits(value: Any) -> bool:
    """Tell whether a value stands for its rectified values, which are not there yet.

    Raises:
        RuntimeError: its memory was written to since: those values are lost.
    """
    version = value.__dict__.get(_MARK) if isinstance(value, Tensor) else None
    if not isinstance(version, int):
        return False
    if version != value._version:
        raise RuntimeError("written to before its rectified values were read")
    return True


def _arrived(value: Any) -> Any:
    """Return what an argument stands for."""
    if isinstance(value, Tensor):
        if _MARK not in value.__dict__:
            return value
        if _waits(value):
            setattr(value, _MARK, gradients.rectified(value))
        return getattr(value, _MARK)
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
        return type(value)(map(_arrived, value)) if type(value) in {list, tuple} else [_arrived(each) for each in value]
    return value
