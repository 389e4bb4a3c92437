"""What is said of a candidate's files, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass


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
