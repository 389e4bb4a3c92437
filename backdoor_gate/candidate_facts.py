"""A model under audit: what it is called and where it lies, its files, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


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


@dataclass(frozen=True, slots=True)
class Reference:
    """A model reference with its names resolved, once: everything after uses the version, never the alias."""

    requested: str
    uri: str
    name: str
    version: str | None
    source: str = ""
    """Where the registry says the bytes are; empty outside the registry."""
    registered: Registration | None = None
    """As `Candidate.registered`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model under audit: a private copy of its bytes, and what identifies them."""

    requested: str
    """The reference as the user gave it, such as `models:/digits@challenger`."""
    uri: str
    """The reference with names resolved once: `models:/digits/3`, `runs:/<id>/model`, or an absolute path."""
    name: str
    """What `models:` entries of a policy match on: the registered model's name, else the path as given."""
    version: str | None
    """Registry version number; None outside the registry."""
    path: Path
    """Root of the private copy (a folder, also for a single weights file)."""
    files: tuple[FileEntry, ...]
    """The canonical manifest, sorted by path."""
    digest: str
    """`sha256:<hex>` of the canonical manifest."""
    signature: Signature | None = None
    pickled: bool = False
    """Whether its MLmodel file says that it is a pickled module or TorchScript."""
    registered: Registration | None = None
    """None outside the registry, and where it does not say."""
    weights_in: str | None = None
    """POSIX path of the folder from which MLflow loads its weights; None without an MLmodel file."""
