"""Values as every JSON document holds them: strings are sanitised, numbers are finite or null, times are in UTC."""

from __future__ import annotations

import math
from datetime import UTC
from typing import TYPE_CHECKING

from backdoor_gate.reports.text import REASON_LIMIT, clean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_IDENTITY_LIMIT = 4096
"""Machines compare names and URIs, so these are cut only where they are absurd."""


def identity(text: str) -> str:
    """Return a name, path or URI."""
    return clean(text, _IDENTITY_LIMIT)


def texts(found: Iterable[str]) -> list[str]:
    """Return reasons and other words for people."""
    return [clean(text, REASON_LIMIT) for text in found]


def finite(value: float | None) -> float | None:
    """Return a number; None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def moment(time: datetime) -> str:
    """Return a time with a zone, to the second."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
