"""Where candidates come from: names are resolved once, then bytes are copied. Nothing is ever loaded here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.candidate_facts import Candidate, Reference


class Source(Protocol):
    """One place that holds models."""

    def resolve(self, reference: str) -> Reference:
        """Resolve names (alias, version) to a fixed reference.

        Raises:
            UsageError: the reference is not well-formed.
            RegistryReadError: the registry is unreachable, or has no such model, version or run.
        """
        ...

    def fetch(self, reference: Reference, destination: Path) -> Candidate:
        """Copy the candidate's bytes into the empty folder `destination`, without executing anything, and hash them.

        Raises:
            RegistryReadError: the bytes could not be read.
            RefusedError: the files are not acceptable (link, device, path, number, size, MLmodel).
        """
        ...

    def fetch_data(self, uri: str, destination: Path) -> Path:
        """Copy the clean data at an artifact URI below `destination` and return the file or folder.

        Raises:
            UsageError: there is nothing at that URI.
            RegistryReadError: the store is unreachable.
        """
        ...
