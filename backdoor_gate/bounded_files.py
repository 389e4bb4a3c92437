"""Reads a file that the user named, up to a size, or says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def read_bounded(path: Path, limit: int, *, hint: str, unfit: str | None = None) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: as the user gave it.
        limit: bytes that it may have, a multiple of 1024.
        hint: what to do where it cannot be read.
        unfit: what to do where there is something else, or something too large; None for the same.

    Raises:
        UsageError: there is no such file, it is not a regular one, cannot be read, or is larger than `limit`.
    """
    where, other = str(path), hint if unfit is None else unfit
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its other end
            raise UsageError("not a regular file", where=where, hint=other)
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        what = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot be read: {what}", where=where, hint=hint) from error
    if len(content) > limit:
        raise UsageError(f"larger than {_spoken(limit)}", where=where, hint=other)
    return content


def _spoken(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
