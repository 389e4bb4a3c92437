"""The settings that a policy may give a detector: name, default, bounds and meaning, read off its settings class."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotated_types import Ge, Le

if TYPE_CHECKING:
    from backdoor_gate.catalogue import DetectorSpec


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a detector: a whole number between `low` and `high`, both included."""

    name: str
    default: int
    low: int
    high: int
    meaning: str


def settings_of(spec: DetectorSpec) -> tuple[Setting, ...]:
    """Return the settings of a detector in the order of its settings class."""
    hints = typing.get_type_hints(spec.settings, include_extras=True)
    meanings = _attribute_docstrings(spec.settings)
    defaults = dataclasses.asdict(spec.settings())
    return tuple(Setting(name, default, *_bounds(hints[name]), meanings[name]) for name, default in defaults.items())


def _bounds(hint: typing.Any) -> tuple[int, int]:
    low: typing.Any = next(bound.ge for bound in hint.__metadata__ if isinstance(bound, Ge))
    high: typing.Any = next(bound.le for bound in hint.__metadata__ if isinstance(bound, Le))
    return low, high


def _attribute_docstrings(settings: type) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = inspect.cleandoc(str(ast.literal_eval(below.value)))
    return found
