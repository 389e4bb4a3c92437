"""Arguments of a graph's nodes: constants as plain values, everything else as a reference to an earlier value."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.scan.loading.naming import is_identifier, shown
from backdoor_gate.scan.loading.pt2.members import refused
from backdoor_gate.scan.loading.pt2.scalars import SCALAR_TYPES, STRIDED, check_float32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_ITEMS = 10_000
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_POSITIONAL, _KEYWORD = 1, 2
_SPECIAL = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the graph, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Here:
    """The device that the network runs on, whatever device it was exported on."""


def decode(argument: Mapping[str, Any], where: str) -> Any:
    """Return the value of one serialised argument, with `Ref` and `Here` inside where the graph decides.

    Raises:
        RefusedError: its kind is not one that a network of tensors and sizes needs.
        UnmeasuredError: it asks for another precision than float32.
    """
    ((kind, value),) = argument.items()
    if kind not in _DECODERS:
        raise refused(f"argument kind not allowed: {shown(str(kind))}", where)
    if kind not in _LISTS:
        return _DECODERS[kind](value, where)
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise refused(f"argument is no list of at most {MAX_ITEMS} items", where)
    return [_DECODERS[kind](item, where) for item in value]


def _exactly(kind: type) -> Callable[[Any, str], Any]:
    def check(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise refused(f"argument is no {kind.__name__}", where)
        return value

    return check


def _number(value: Any, where: str) -> float:
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    if type(value) not in (int, float):
        raise refused("argument is no float", where)
    return float(value)


def _symbol(value: Mapping[str, Any], where: str) -> Any:
    return _reference(value, "as_name", where) if "as_name" in value else decode(value, where)


def _reference(value: Mapping[str, Any], key: str, where: str) -> Ref:
    if value.keys() != {key} or not is_identifier(value[key]):
        raise refused("value with a name that is none", where)
    return Ref(value[key])


def _scalar_type(value: Any, where: str) -> torch.dtype:
    if value not in SCALAR_TYPES:
        raise refused(f"dtype not supported: scalar type {value}", where)
    check_float32(SCALAR_TYPES[value], "computes a step", where)
    return SCALAR_TYPES[value]


def _memory_format(value: Any, where: str) -> torch.memory_format:
    if value not in _MEMORY_FORMATS:
        raise refused("memory format not supported", where)
    return _MEMORY_FORMATS[value]


def _layout(value: Any, where: str) -> torch.layout:
    if value != STRIDED:
        raise refused("tensor layout not supported", where)
    return torch.strided


_integer, _boolean, _text = _exactly(int), _exactly(bool), _exactly(str)
_DECODERS: dict[str, Callable[[Any, str], Any]] = {
    "as_none": lambda _value, _where: None,
    "as_int": _integer,
    "as_ints": _integer,
    "as_bool": _boolean,
    "as_bools": _boolean,
    "as_string": _text,
    "as_float": _number,
    "as_floats": _number,
    "as_tensor": lambda value, where: _reference(value, "name", where),
    "as_tensors": lambda value, where: _reference(value, "name", where),
    "as_optional_tensor": decode,
    "as_optional_tensors": decode,
    **dict.fromkeys(("as_sym_int", "as_sym_float", "as_sym_bool"), _symbol),
    **dict.fromkeys(("as_sym_ints", "as_sym_floats", "as_sym_bools"), _symbol),
    "as_scalar_type": _scalar_type,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": lambda _value, _where: Here(),
}
_LISTS = frozenset(kind for kind in _DECODERS if kind.endswith("s") and kind != "as_none")


def check_binding(inputs: list[dict[str, Any]], parameters: list[Any], target: str, where: str) -> None:
    """Refuse arguments that PyTorch's loader would give to other parameters than those that they name, or to none.

    It hands on by position what says so, in the order of the parameters: such have to be the first of them.

    Args:
        inputs: of a node, each with its name and kind.
        parameters: of the operator's schema.
        target: the operator, for messages.
        where: the file, for messages.

    Raises:
        RefusedError: one would go elsewhere or nowhere, or one is missing.
    """
    kinds = {entry["name"]: entry.get("kind") for entry in inputs}
    if kinds.keys() - {parameter.name for parameter in parameters}:
        raise refused(f"argument not known: {shown(target)}", where)
    if any(parameter.name not in kinds and not parameter.has_default_value() for parameter in parameters):
        raise refused(f"argument missing: {shown(target)}", where)
    # Where nothing is said, what has no default is handed on by position.
    positional = [
        parameter.name in kinds
        and (kinds[parameter.name] or (_KEYWORD if parameter.has_default_value() else _POSITIONAL)) == _POSITIONAL
        for parameter in parameters
    ]
    first = parameters[: sum(positional)]
    gaps = not all(positional[: len(first)]) or any(parameter.kwarg_only for parameter in first)
    if gaps or any(map(keyword.iskeyword, kinds)) or not {*kinds.values()} <= {_POSITIONAL, _KEYWORD, None}:
        raise refused(f"argument out of place: {shown(target)}", where)


def references(value: Any) -> Iterator[str]:
    """Yield the names of the values that an argument, or a collection of them, refers to."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, dict):
        yield from references(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)
