"""YAML from files that may be hostile or hasty: mappings, lists and scalars, the line of each, and no other YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
"""Nesting. MLflow writes four levels, a policy six."""
MAX_EVENTS = 20_000
"""Parser events of a document. The parser is slow enough for a megabyte of them to hurt."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_CONSTANTS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_CONSTANTS_OF_FLOAT = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_INT = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
# An exponent needs a sign: hexadecimal identifiers such as 12e45 must stay text.
_FLOAT = re.compile(r"[-+]?(?=\.?[0-9])[0-9]{0,18}(?:\.[0-9]{0,32})?(?:[eE][-+][0-9]{1,4})?", re.ASCII)

Path = tuple[str | int, ...]


class StrictYamlError(ValueError):
    """A document that breaks a rule.

    Attributes:
        rule: what is wrong, as a statement without the file's name.
        line: line of the fault, counted from 1; None where the file has no lines.
    """

    def __init__(self, rule: str, line: int | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed document.

    Attributes:
        value: nested dicts (text keys, in file order), lists and scalars; None for an empty file.
        lines: line, counted from 1, of each value's key, list item or, for the path `()`, the document.
    """

    value: object
    lines: Mapping[Path, int]


def text_scalar(text: str, plain: bool) -> str | None:
    """Keep every scalar as its text, except an unquoted null, which becomes None."""
    return None if plain and text in _NULLS else text


def core_scalar(text: str, plain: bool) -> str | int | float | bool | None:
    """Give an unquoted scalar its type by the core schema of YAML 1.2: `no` and `1:30` are text, `1e-3` is a number."""
    if not plain:
        return text
    if text in _NULLS:
        return None
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if text.lower() in _CONSTANTS_OF_FLOAT:
        return float(_CONSTANTS_OF_FLOAT[text.lower()])
    return float(text) if _FLOAT.fullmatch(text) else text


def read(data: bytes, scalar: Callable[[str, bool], object] = text_scalar) -> Document:
    """Parse one document.

    Args:
        data: the file's bytes, UTF-8.
        scalar: gives a scalar its value, from its text and whether it was written without quotes.

    Raises:
        StrictYamlError: larger than 1 MiB, not UTF-8 YAML, more than one document, an alias or anchor, a tag, a merge,
            a key that is no text or comes twice, or more nesting or events than the limits.
    """
    if len(data) > MAX_BYTES:
        raise StrictYamlError("larger than 1 MiB")
    try:
        return _Reader(data.decode("utf-8"), scalar).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise StrictYamlError(f"not valid YAML: {error.problem}", mark.line + 1 if mark else None) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise StrictYamlError("not UTF-8 YAML") from error


class _Reader:
    """Turns the parser's event stream into values, checking each event before anything is built of it."""

    def __init__(self, text: str, scalar: Callable[[str, bool], object]) -> None:
        self._scalar = scalar
        self._events = _checked(text)
        self._lines: dict[Path, int] = {}

    def document(self) -> Document:
        value: object = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise StrictYamlError("more than one document", _line(event))
                first = next(self._events)
                self._lines[()] = _line(first)
                value = self._value(first, ())
        return Document(value, self._lines)

    def _value(self, event: yaml.Event, path: Path) -> object:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event.value, event.implicit[0])
        if len(path) >= MAX_DEPTH:
            raise StrictYamlError(f"nested more than {MAX_DEPTH} levels deep", _line(event))
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _mapping(self, path: Path) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent) or event.value == "<<":
                raise StrictYamlError("a key is not plain text", _line(event))
            if event.value in mapping:
                raise StrictYamlError(f"duplicate key {event.value[:80]!a}", _line(event))
            inner = (*path, event.value)
            self._lines[inner] = _line(event)
            mapping[event.value] = self._value(next(self._events), inner)
        return mapping

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            inner = (*path, len(items))
            self._lines[inner] = _line(event)
            items.append(self._value(event, inner))
        return items


def _checked(text: str) -> Iterator[yaml.Event]:
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if count >= MAX_EVENTS:
            raise StrictYamlError(f"more than {MAX_EVENTS} YAML tokens", _line(event))
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise StrictYamlError("YAML aliases not allowed", _line(event))
        if getattr(event, "tag", None) is not None:
            raise StrictYamlError("YAML tag refused", _line(event))
        yield event


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1
