"""Models on this machine: a folder, or a single weights file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backdoor_gate.candidate_facts import Candidate, Reference
from backdoor_gate.errors import RefusedError, UsageError
from backdoor_gate.sources.candidate import candidate
from backdoor_gate.sources.copying import copy_local
from backdoor_gate.sources.manifest import shown
from backdoor_gate.sources.references import is_artifact, is_registry


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """Local folders and files.

    Attributes:
        tracking_uri: of MLflow, used only where the clean data of a local model lie in an artifact store.
    """

    tracking_uri: str | None = None

    def resolve(self, reference: str) -> Reference:
        """Return the absolute path; the name that policies match on is the path as given.

        Raises:
            UsageError: there is no such file or folder.
        """
        path = _existing(reference)
        return Reference(reference, str(path), reference, None)

    def fetch(self, reference: Reference, destination: Path) -> Candidate:
        """Copy the folder or file into the empty folder `destination` and hash the copy.

        Raises:
            UnmeasuredError: it could not be read, or there is no room.
            RefusedError: the files are not acceptable.
        """
        copy_local(Path(reference.uri), destination)
        return candidate(reference, destination)

    def fetch_data(self, uri: str, destination: Path) -> Path:
        """Copy clean data, given as a path or an artifact URI, below `destination` and return the file or folder.

        Raises:
            UsageError: there is nothing at that place, or it holds links or other things that are no files.
            RegistryReadError: the artifact store is unreachable.
        """
        if is_artifact(uri):
            from backdoor_gate.sources.mlflow import MlflowSource  # noqa: PLC0415

            return MlflowSource(self.tracking_uri).fetch_data(uri, destination)
        source = _existing(uri)
        target = destination / source.name if source.is_dir() else destination
        target.mkdir(parents=True, exist_ok=True)
        try:
            return copy_local(source, target)
        except RefusedError as error:
            raise UsageError(error.what, where=error.where or shown(uri), hint=error.hint) from error


def _registered(reference: str) -> str:
    """Return the URI that a reference without its scheme may stand for: `digits/3`, `models:digits@champion`."""
    name = reference.removeprefix("models:")
    return f"models:/{shown(name)}" if is_registry(f"models:/{name}") else "models:/NAME/VERSION"


def _existing(reference: str) -> Path:
    if not reference:  # a path of no parts is the working folder, which an unset variable does not mean
        raise UsageError("the name is empty", hint="name a file, a folder or models:/NAME/VERSION")
    try:
        path = Path(reference).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        hint = f"check the path, or write {_registered(reference)} for a registered model"
        raise UsageError("no such file or folder", where=shown(reference), hint=hint) from error
    if not (path.is_dir() or path.is_file()):
        raise RefusedError(f"not a regular file: {shown(reference)}")
    return path
