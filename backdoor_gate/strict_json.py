"""JSON from files and messages that may be hostile: valid UTF-8, every name once, finite numbers, bounded depth."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class JsonError(ValueError):
    """The document breaks a rule; the message is the rule in a few words."""


class DuplicateNameError(JsonError):
    """An object holds the same name twice, so that two readers could see two documents; the message is the name."""


class NotFiniteError(JsonError):
    """A number is NaN, infinite or too large for a float."""


def parse(
    data: bytes | str,
    *,
    integer: Callable[[str], int] = int,
    check: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Any:
    """Return the JSON value in `data`.

    Args:
        data: one document; bytes are UTF-8 without a byte-order mark.
        integer: reads a whole number's digits; what it raises passes through, unless it is a ValueError.
        check: looks at each object; what it raises passes through likewise.

    Raises:
        DuplicateNameError: an object holds a name twice.
        NotFiniteError: a number is not finite.
        JsonError: anything else that keeps it from being one well-formed document.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise DuplicateNameError(Counter(name for name, _ in pairs).most_common(1)[0][0])
        check(found)
        return found

    try:
        text = data.decode() if isinstance(data, bytes) else data
        return json.loads(
            text, object_pairs_hook=unique, parse_constant=_constant, parse_float=_finite, parse_int=integer
        )
    except RecursionError as error:
        raise JsonError("nested too deeply") from error
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError("not valid JSON") from error


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotFiniteError("a number is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise NotFiniteError(f"{name} is not JSON")
