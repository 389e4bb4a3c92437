"""Small changes to sound files: bytes replaced, inserted and cut, values in documents swapped."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Changes = list[tuple[int, bytes, int]]
edits = st.lists(st.tuples(st.integers(0), st.binary(max_size=8), st.integers(0, 8)), min_size=1, max_size=4)
"""Where (modulo the length), what to put there, and how many bytes to take away."""


def edited(data: bytes, changes: Changes) -> bytes:
    for place, value, removed in changes:
        at = place % (len(data) + 1)
        data = data[:at] + value + data[at + removed :]
    return data


def replaced(document: Any, path: list[int], value: Any) -> Any:
    """Return the document with the value at a random path replaced."""
    if not path or not isinstance(document, (dict, list)) or not document:
        return value
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = keys[path[0] % len(keys)]
    copy = document.copy()
    copy[key] = replaced(document[key], path[1:], value)
    return copy
