"""The channel's grammar: framed messages of four kinds, strict JSON inside, and text made safe to show.

A frame is one kind byte, the payload's length as four bytes big-endian, and the payload. A conversation is
`lockdown progress* result array*` and nothing after; a result that is a failure may come at once. Whatever departs from
that is a `WorkerError` "malformed result: <rule>".
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

from backdoor_gate.errors import WorkerError
from backdoor_gate.strict_json import DuplicateNameError, JsonError, NotFiniteError, parse
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCKDOWN, PROGRESS, RESULT, ARRAY = b"L", b"P", b"R", b"A"
PROGRESS_PER_SECOND = 10
"""Progress messages that a well-behaved child sends; the parent hears out twice as many."""
MAX_LOCKDOWN_BYTES = 4096
MAX_PROGRESS_BYTES = 1024
MAX_RESULT_BYTES = 4 << 20
"""Of a result that speaks of no class; see `allowance` for a scan's."""
MAX_DEPTH = 16
"""Levels of nesting of a JSON document; the deepest legal result has seven."""
FEW_CONTAINERS = 1024
LEAST_CONTAINER = 24
"""Lists and mappings of a JSON document: so few, and for each more so many bytes of it. They take far more memory than
text. Those that a legal result holds for each class have more than 30 bytes."""
MAX_TEXT = 500
"""Characters of one string of the child's, after escaping."""

_HEADER = struct.Struct(">cI")
_MEMORY_FAULTS = (
    "out of memory",
    "allocate memory",
    "bad_alloc",
    "failed to map segment",
    "memory allocation",
    "memoryerror",
)
_MAX_DIGITS = 18
_MAX_KEYS = 32
# A string (closed or not, so that a match always moves on and the search stays linear), or one bracket.
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+["\\]?|[\[\]{}]', re.DOTALL)


def malformed(rule: str) -> WorkerError:
    """Return the error for a message that breaks `rule`."""
    hint = "scan again; if it repeats, treat the candidate as hostile or the installation as broken"
    return WorkerError(f"malformed result: {rule}", hint=hint)


def plain(text: str, limit: int = MAX_TEXT) -> str:
    r"""Return `text` as one printable line of at most `limit` characters.

    Control, format, surrogate and separator characters become escapes such as `\x1b`; the markers that make a build
    log run commands (`##[` anywhere, `::` in front) are broken by a backslash. Applying it twice changes nothing.
    """
    shown = one_line(text, limit).replace("##[", "##\\[")
    if shown.startswith("::"):
        shown = "\\" + shown
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def out_of_memory() -> WorkerError:
    """Return the error for a scan that needed more memory than it was given."""
    hint = "raise limits.memory, lower the detectors' images, or use a machine with more memory"
    return WorkerError("out of memory", hint=hint)


def tells_of_memory(text: str) -> bool:
    """Return whether a library's last words say that memory could not be had."""
    words = text.lower()
    return any(fault in words for fault in _MEMORY_FAULTS)


# ------------------------------------------------------------------------------------------------------- frames


def write_frame(channel: int, kind: bytes, payload: bytes) -> None:
    """Write one frame to the file descriptor `channel`, blocking until all of it is out."""
    for part in (_HEADER.pack(kind, len(payload)), payload):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(channel, rest) :]


class FrameReader:
    """Cuts a byte stream into frames.

    Args:
        limit: called with the kind of a frame as soon as its header is in; returns the largest payload allowed at
            this point of the conversation, in bytes, or raises if no such frame may come now.
    """

    def __init__(self, limit: Callable[[bytes], int]) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Take in `data` and yield (kind, payload) for each frame that is now complete.

        Raises:
            WorkerError: a frame is too large.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._buffer)
            if size > self._limit(kind):
                raise malformed("message larger than allowed")
            end = _HEADER.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield kind, payload


# --------------------------------------------------------------------------------------------------------- JSON


def strict_json(payload: bytes) -> object:
    """Parse one JSON document, refusing all that `json.loads` lets through without a word.

    Args:
        payload: the document; its size was capped by the frame.

    Raises:
        WorkerError: not UTF-8, not JSON, nested deeper than MAX_DEPTH, more lists and mappings than a document of its
            size has, a duplicate key, keys that are not ASCII or more than any document has, a number that is not
            finite or an integer of more than 18 digits.
    """
    _check_containers(payload)
    try:
        return parse(payload.decode("utf-8"), integer=_short_integer, check=_check_keys)
    except UnicodeDecodeError:
        raise malformed("not UTF-8") from None
    except DuplicateNameError:
        raise malformed("duplicate key") from None
    except NotFiniteError:
        raise malformed("number is not finite") from None
    except JsonError:
        raise malformed("not JSON") from None


def _check_containers(payload: bytes) -> None:
    """Refuse deep nesting before the recursive parser sees it, and what would take far more memory than its size."""
    depth, left = 0, FEW_CONTAINERS + len(payload) // LEAST_CONTAINER
    for match in _STRING_OR_BRACKET.finditer(payload):
        first = payload[match.start()]
        opened = first in b"[{"
        depth += opened - (first in b"]}")
        left -= opened
        if depth > MAX_DEPTH:
            raise malformed(f"nested deeper than {MAX_DEPTH}")
        if left < 0:
            raise malformed("more lists and mappings than a result of its size has")


def _check_keys(found: dict[str, object]) -> None:
    if len(found) > _MAX_KEYS or not all(key.isascii() for key in found):
        raise malformed("unknown keys")


def _short_integer(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise malformed("integer has too many digits")
    return int(text)
