"""Option values that are the gate's own, each read by a callback of its option."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import click

from backdoor_gate.units import parse_duration

if TYPE_CHECKING:
    from backdoor_gate.reports import Format, rescan


_F = TypeVar("_F", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Target(Generic[_F]):
    """One report to write."""

    format: _F
    path: Path


def targets(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Target[Format], ...]:
    """Read `FORMAT=PATH` pairs, such as `json=out/report.json`; no two may name one path.

    Raises:
        click.BadParameter: one is no pair, or has an unknown format, or a path comes twice.
    """
    if not values:
        return ()
    from backdoor_gate.reports import Format  # noqa: PLC0415

    return _targets(values, Format)


def summaries(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Target[rescan.Format], ...]:
    """Read `FORMAT=PATH` pairs of a run's summaries; as `targets` otherwise.

    Raises:
        click.BadParameter: one is no pair, or has an unknown format, or a path comes twice.
    """
    if not values:
        return ()
    from backdoor_gate.reports.rescan import Format  # noqa: PLC0415

    return _targets(values, Format)


def _targets(values: tuple[str, ...], formats: type[_F]) -> tuple[Target[_F], ...]:
    legal = [known.value for known in formats]
    pairs = [value.partition("=") for value in values]
    for (name, _, path), value in zip(pairs, values, strict=True):
        if name not in legal or not path:
            raise click.BadParameter(f"{value!r} is not FORMAT=PATH with a format among {', '.join(legal)}")
    places = [os.path.realpath(path) for _, _, path in pairs]
    for place in places:
        if places.count(place) > 1:
            raise click.BadParameter(f"two reports would be written to {place}")
    return tuple(Target(formats(name), Path(path)) for name, _, path in pairs)


def clean_images(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read a place of clean images, as `data_place` does."""
    from backdoor_gate.sources import data_place  # noqa: PLC0415

    return None if value is None else data_place(value)


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Read a duration of at least one second, such as `10m`, as seconds.

    Raises:
        click.BadParameter: it is none.
    """
    if value is None:
        return None
    try:
        return parse_duration(value, least=1)
    except ValueError as error:
        raise click.BadParameter(f"{error}, got {value!r}") from error


def shape(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[int] | None:
    """Read `C,H,W` as three whole numbers.

    Raises:
        click.BadParameter: it is something else.
    """
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        raise click.BadParameter(f"{value!r} is not C,H,W, such as 3,32,32")
    return [int(part) for part in parts]
