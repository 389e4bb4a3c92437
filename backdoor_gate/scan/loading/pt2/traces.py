"""Whether two networks are the same function: the same operators on the same values, one after the other.

Equal answers on some images prove nothing, since a trigger is not among them. But a program has no branches, so that
what it runs for one image it runs for every image; where a network built by trusted code runs the very same operators,
in the same order, on the same weights and on each other's results, it computes what the program does, for every image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from backdoor_gate.scan.network.watching import Watch, tensors_in, without_shortcuts

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER_NAMES = frozenset({"aten.detach.default", "aten.alias.default", "aten.lift_fresh.default"})
"""Operators whose result is their argument under another name."""

OWN_COPY = "aten.lift_fresh_copy.default"
"""How a program takes a constant that the network's code writes down."""

WHERE_AND_HOW = frozenset({"device", "pin_memory", "layout"})
"""Arguments that change no number."""


class Trace(Watch):
    """The operators that ran, what they were given, and which result is the output."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[str, Any]] = []
        self.output: Any = None
        self._made: dict[int, Any] = {}
        self._kept: list[Tensor] = []

    def record(self, network: Callable[[Tensor], Any], images: Tensor) -> Trace:
        """Put images through a network and return what ran; raises what it raises."""
        self._name(images, "images")
        with torch.no_grad(), without_shortcuts(), self:
            output = network(images)
        self.output = self._described(output)
        return self

    def made(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Note one operator: what it was given keeps its names until the result has one of its own."""
        named = {name: value for name, value in kwargs.items() if name not in WHERE_AND_HOW}
        given = self._described([*args, *sorted(named.items())])
        if str(operator) in OTHER_NAMES or (str(operator) == OWN_COPY and isinstance(given[0], Tensor)):
            self._name(result, given[0])
            return
        step = len(self.operators)
        self.operators.append((str(operator), given))
        for place, tensor in enumerate(tensors_in([result])):
            self._name(tensor, (step, place))

    def _name(self, tensor: Tensor, name: Any) -> None:
        self._made[id(tensor)] = name
        self._kept.append(tensor)  # or another could get its identity

    def _described(self, value: Any) -> Any:
        """Return a value with each tensor replaced by what made it; the networks' own stay."""
        if isinstance(value, Tensor):
            return self._made.get(id(value), value)
        if isinstance(value, (list, tuple)):
            return tuple(map(self._described, value))
        return value


def same(one: Trace, other: Trace) -> bool:
    """Tell whether two traces are of one function."""
    return _equal(tuple(one.operators), tuple(other.operators)) and _equal(one.output, other.output)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and one == other
