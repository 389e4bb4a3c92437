"""Kinds of values in a policy file: each says what it must be, in the words that a complaint shows."""

from __future__ import annotations

import json
import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from backdoor_gate.units import DURATION_UNITS, SIZE_UNITS, format_duration, format_size, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def must_be(legal: str) -> WrapValidator:
    """Replace whatever is said of a bad value by what it must be, such as `true or false`."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except (ValueError, RecursionError) as error:
            raise PydanticCustomError("illegal", "must be {legal}", {"legal": legal}) from error

    return WrapValidator(check)


def fault(what: str, *keys: str) -> PydanticCustomError:
    """Return a complaint about the value at `keys` below the value that is being checked."""
    return PydanticCustomError("fault", "{what}", {"what": what, "keys": keys})


@dataclass(frozen=True, slots=True)
class Whole(GroupedMetadata):
    """A whole number between `low` and `high`, both included."""

    low: int
    high: int

    def __iter__(self) -> Iterator[object]:
        """Yield what pydantic checks."""
        yield Field(strict=True, ge=self.low, le=self.high)
        yield must_be(f"a whole number between {self.low} and {self.high}")


@dataclass(frozen=True, slots=True)
class Quantity(GroupedMetadata):
    """A number with a unit, between `low` and `high` of the smallest unit, both included."""

    kind: str
    units: dict[str, int]
    parse: Callable[[str], float]
    render: Callable[[int], str]
    low: int
    high: int
    example: str

    def __iter__(self) -> Iterator[object]:
        """Yield what pydantic checks."""
        yield Field(strict=True, pattern=rf"^[0-9]{{1,15}}(\.[0-9]{{1,9}})? ?({'|'.join(self.units)})$")
        yield AfterValidator(self._in_range)
        bounds = f"between {self.render(self.low)} and {self.render(self.high)}"
        yield must_be(f"a {self.kind} {bounds}, such as {self.example}")

    def _in_range(self, text: str) -> str:
        if not self.low <= self.parse(text) <= self.high:
            raise ValueError("out of range")
        return text


def duration(low: int, high: int, example: str) -> Quantity:
    """Return what a duration between `low` and `high` seconds must keep to."""
    return Quantity("duration", DURATION_UNITS, parse_duration, format_duration, low, high, example)


def size(low: int, high: int, example: str) -> Quantity:
    """Return what a size between `low` and `high` bytes must keep to."""
    return Quantity("size", SIZE_UNITS, parse_size, format_size, low, high, example)


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control character")
    return text


def _key_place(place: str) -> str:
    if place.startswith("env:") and not _VARIABLE.fullmatch(place):
        raise ValueError("not the name of a variable")
    return place


def _distinct(items: list[Any]) -> list[Any]:
    if len(set(items)) < len(items):
        raise ValueError("duplicate")
    return items


def _increasing(pair: list[float]) -> list[float]:
    if not pair[0] < pair[1]:
        raise ValueError("not increasing")
    return pair


def _arguments(values: dict[str, Any]) -> dict[str, Any]:
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in values):
        raise ValueError("not an argument name")
    # Refuses what JSON cannot hold: numbers that are not finite, and lone surrogates.
    json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
    return values


DISTINCT = AfterValidator(_distinct)

Text = Annotated[
    str, Field(strict=True, min_length=1, max_length=1024), AfterValidator(_plain), must_be("text on one line")
]
KeyPlace = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=1024),
    AfterValidator(_plain),
    AfterValidator(_key_place),
    must_be("a path, or env:NAME with the name of an environment variable"),
]
Flag = Annotated[bool, Field(strict=True), must_be("true or false")]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Range = Annotated[
    list[Finite],
    Field(min_length=2, max_length=2),
    AfterValidator(_increasing),
    must_be("[lowest, highest], two numbers, the first the smaller"),
]
Mean = Annotated[list[Finite], Field(min_length=1, max_length=64), must_be("a list of numbers, one for each channel")]
Std = Annotated[
    list[Positive], Field(min_length=1, max_length=64), must_be("a list of numbers above 0, one for each channel")
]
Shape = Annotated[
    list[Annotated[int, Field(strict=True, ge=1, le=4096)]],
    Field(min_length=3, max_length=3),
    must_be("[channels, height, width], three whole numbers between 1 and 4096"),
]
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
Target = Annotated[
    str,
    Field(strict=True, max_length=512, pattern=rf"^{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*$"),
    must_be("package.module:callable"),
]
Arguments = Annotated[
    dict[str, Any],
    Field(strict=True),
    AfterValidator(_arguments),
    must_be("a mapping of argument names to values that JSON can hold"),
]
