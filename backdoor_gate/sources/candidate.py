"""What the gate knows of a candidate before anything loads it: the files of its private copy, and what they declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.candidate_facts import Candidate
from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.sources.copying import strip_download_marks
from backdoor_gate.sources.manifest import digest, manifest, shown
from backdoor_gate.sources.mlmodel import read_mlmodel

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.candidate_facts import Reference


def candidate(reference: Reference, root: Path) -> Candidate:
    """Describe a finished private copy: manifest, digest, and what its MLmodel file declares.

    Raises:
        RefusedError: the files, or the MLmodel among them, are not acceptable.
        UnmeasuredError: the copy could not be read back.
    """
    try:
        strip_download_marks(root)
        files = manifest(root)
        declared = read_mlmodel(root)
    except OSError as error:
        raise UnmeasuredError(
            f"private copy cannot be read: {error.strerror}", where=shown(str(error.filename))
        ) from error
    return Candidate(
        requested=reference.requested,
        uri=reference.uri,
        name=reference.name,
        version=reference.version,
        path=root,
        files=files,
        digest=digest(files),
        signature=declared.signature if declared else None,
        weights_in=declared.data if declared else None,
        pickled=declared is not None and declared.serialization == "pickle",
        registered=reference.registered,
    )
