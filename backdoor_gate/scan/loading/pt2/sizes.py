"""Whole numbers that grow with the batch: what may be done with them, exactly, for any number of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from backdoor_gate.scan.loading.pt2.graph import Step
    from backdoor_gate.scan.loading.pt2.layouts import Place

SIZES = frozenset({"torch.ops.aten.sym_size.int", "torch.ops.aten.sym_numel.default", "torch.ops.aten.sym_stride.int"})
"""Operators that return a size of a tensor."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many times the number of images."""

    per_image: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """What must not be used: it hangs on the number of images otherwise, or on the image, in steps.

    Attributes:
        cause: the operator that made it.
        by_steps: whether it is the image that it hangs on.
    """

    cause: str
    by_steps: bool


def size_of(step: Step, one: Tensor, place: Place) -> int | Count | Unknown:
    """Return a size of a tensor with a part for each image.

    Args:
        step: which size.
        one: the tensor of one image.
        place: where the images are.
    """
    if step.label == "torch.ops.aten.sym_numel.default":
        return Count(one.numel())
    if step.label == "torch.ops.aten.sym_stride.int":
        return Unknown(step.label, by_steps=False)
    axis = step.arguments["dim"]
    if not isinstance(axis, int) or not -one.dim() <= axis < one.dim():
        return Unknown(step.label, by_steps=False)
    size = one.shape[axis]
    return Count(size) if axis % one.dim() == place.axis else size


def counted(name: str, operands: list[Any]) -> int | Count | Unknown:
    """Return the result of an operator on numbers, of which some grow with the batch.

    Args:
        name: of the operator, without its module.
        operands: numbers, counts and what is unknown already, in order.
    """
    rule = _RULES.get(name)
    found = None if rule is None or any(isinstance(operand, Unknown) for operand in operands) else rule(*operands)
    return Unknown(name, by_steps=False) if found is None else found


def _product(one: Any, other: Any) -> Count | None:
    if isinstance(one, Count):
        one, other = other, one
    return Count(one * other.per_image) if isinstance(one, int) else None


def _quotient(one: Any, other: Any) -> int | Count | None:
    divided = one.per_image if isinstance(one, Count) else None
    divisor = other.per_image if isinstance(other, Count) else other
    if divided is None or not isinstance(divisor, int) or divisor == 0 or divided % divisor:
        return None
    return divided // divisor if isinstance(other, Count) else Count(divided // divisor)


def _sum(one: Any, other: Any) -> Count | None:
    return Count(one.per_image + other.per_image) if isinstance(one, Count) and isinstance(other, Count) else None


def _difference(one: Any, other: Any) -> int | Count | None:
    both = isinstance(one, Count) and isinstance(other, Count)
    return Count(one.per_image - other.per_image) if both else None


def _same(one: Any) -> Count | None:
    return one if isinstance(one, Count) else None


_RULES: dict[str, Callable[..., int | Count | None]] = {
    "mul": _product,
    "floordiv": _quotient,
    "add": _sum,
    "sub": _difference,
    "sym_int": _same,
    "pos": _same,
}
"""None of a rule: the result does not grow in step with the batch."""
