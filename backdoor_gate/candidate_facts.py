"""What is said of a candidate's files, what it says of itself, and which entry of the registry it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a candidate: POSIX path relative to the root, size in bytes, lower-case hex SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TensorSignature:
    """A tensor as the candidate declares it: its shape (-1 is a free dimension) and numpy dtype name."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What the candidate says of its own input and output. The least trusted source of both."""

    input: TensorSignature | None
    output: TensorSignature | None


@dataclass(frozen=True, slots=True)
class Registration:
    """One entry of a registry. Its name and number can be given a second time, and swapped; these two stay with it.

    Attributes:
        created: when the registry made it, by the registry's clock: in whole milliseconds, with a zone.
        source: `sha256:<hex>` of the source that the registry has for it, as text.
    """

    created: datetime
    source: str
