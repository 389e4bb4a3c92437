"""Durations and sizes as people write them: `90s`, `10m`, `1h`, `90d`; `512MiB`, `8GiB`."""

from __future__ import annotations

import re
from fractions import Fraction

DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds in one of each."""
SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
"""Bytes in one of each."""

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]{1,3})", re.ASCII)


def parse_duration(text: str, *, least: float = 0) -> float:
    """Return the seconds of a duration such as `10m`: a number and one of s, m, h, d.

    Raises:
        ValueError: it is none, or shorter than `least` seconds.
    """
    seconds = float(_parse(text, DURATION_UNITS, "a duration such as 90s, 10m, 1h or 90d"))
    if seconds < least:
        raise ValueError(f"must be at least {format_duration(least)}")
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `8GiB`: a number and one of B, KiB, MiB, GiB, TiB; part of a byte is dropped.

    Raises:
        ValueError: it is none.
    """
    return int(_parse(text, SIZE_UNITS, "a size such as 512MiB or 8GiB"))


def format_duration(seconds: float) -> str:
    """Return seconds as `parse_duration` reads them, in the largest unit that keeps them whole, to the millisecond."""
    if seconds != int(seconds):
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return _format(int(seconds), DURATION_UNITS, "s")


def format_size(size: int) -> str:
    """Return bytes as `parse_size` reads them, in the largest unit that keeps them whole."""
    return _format(size, SIZE_UNITS, "B")


def _parse(text: str, units: dict[str, int], legal: str) -> Fraction:
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in units:
        raise ValueError(f"must be {legal}")
    return Fraction(match[1]) * units[match[2]]


def _format(amount: int, units: dict[str, int], smallest: str) -> str:
    fitting = [(size, name) for name, size in units.items() if amount and amount % size == 0]
    size, name = max(fitting, default=(1, smallest))
    return f"{amount // size}{name}"
