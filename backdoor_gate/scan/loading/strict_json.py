"""JSON from a candidate: valid UTF-8, every name once, no NaN or infinity, bounded depth."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn


class JsonError(ValueError):
    """The document breaks a rule; the message is the rule in a few words."""


class DuplicateNameError(JsonError):
    """An object holds the same name twice, so that two readers could see two documents."""


def parse(data: bytes) -> Any:
    """Return the JSON value in `data`.

    Raises:
        DuplicateNameError: an object holds a name twice.
        JsonError: anything else that keeps it from being one well-formed document.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise JsonError("nested too deeply") from error
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError("not valid JSON") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DuplicateNameError(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")
