"""Whether the file that is measured is the one that a deployment loads, and what may lie beside it there.

MLflow takes its file by name from the folder that `MLmodel` names. Without `MLmodel` the pipeline's own code takes one,
by a name that is not known here. So nothing may lie there that could be loaded in the place of the weights: a pickle
need not begin like one, and a file of no known kind is therefore refused, not passed over.
"""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from backdoor_gate.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_ENDINGS = ".json .yaml .yml .txt .md .rst .html .csv .tsv .toml .ini .cfg .log .py .xml .svg .ipynb"
_NAMES = "mlmodel readme license notice .gitattributes .gitignore"
_TEXTS = frozenset(f"{_ENDINGS} {_NAMES}".split())
_BINARIES = {
    ".png": b"\x89PNG",
    ".jpg": b"\xff\xd8\xff",
    ".jpeg": b"\xff\xd8\xff",
    ".pdf": b"%PDF-",
    ".npy": b"\x93NUMPY",
    ".npz": b"PK",
    ".ds_store": b"\0\0\0\1Bud1",
}
"""How files that are no text begin; no pickle that could run anything begins like that."""
_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BY_MLFLOW = {"pt2": "model.pt2", "pickle": "model.pth", "torchscript": "model.pth"}
"""What MLflow calls the file that it loads. It loads none of the other kinds; who does, does so by code of his own."""


def is_plain(name: str) -> bool:
    """Return whether a file's name says that it holds no weights."""
    return _type(name) in _TEXTS or _type(name) in _BINARIES


def check_deployed(weights: str, kind: str, folder: str | None) -> None:
    """Refuse weights that MLflow would not load.

    Args:
        weights: the measured file, as a POSIX path below the candidate's root.
        kind: what it is, as in `WeightsFile`.
        folder: where MLflow loads from, as a POSIX path; None without an MLmodel file.

    Raises:
        RefusedError: it lies outside that folder, or has another name than the file that MLflow loads.
    """
    if folder is None:
        return
    hint = "log the model again with mlflow.pytorch.log_model"
    if not PurePosixPath(weights).is_relative_to(folder):
        raise RefusedError(f"weights outside the folder that MLmodel names: {folder}", where=weights, hint=hint)
    if kind in _BY_MLFLOW and PurePosixPath(weights) != PurePosixPath(folder, _BY_MLFLOW[kind]):
        loaded = PurePosixPath(folder, _BY_MLFLOW[kind])
        raise RefusedError(f"not the file that MLflow loads: {loaded}", where=weights, hint=hint)


def check_others(root: Path, others: Iterable[Path], weights: str, folder: str | None) -> None:
    """Refuse a file that could be loaded in the place of the weights.

    Args:
        root: of the candidate's private copy.
        others: all of its files but the weights; none is of a kind that is recognised as weights.
        weights: the measured file, for the message.
        folder: as for `check_deployed`; files outside of it are nobody's business.

    Raises:
        RefusedError: a file there is of no known kind, or does not hold what its name says.
    """
    for path in others:
        name = path.relative_to(root).as_posix()
        if not PurePosixPath(name).is_relative_to(folder or "") or path.stat().st_size == 0:
            continue
        if not is_plain(name):
            hint = f"leave it out: whoever loads this folder could take it for the model, in place of {weights}"
            raise RefusedError("file of an unknown kind beside the weights", where=name, hint=hint)
        if not _holds_what_it_says(path):
            hint = "leave it out, or give it the ending of what it holds"
            raise RefusedError("content does not match its type", where=name, hint=hint)


def _type(name: str) -> str:
    """Return a file's ending in small letters; its whole name where it has none."""
    path = PurePosixPath(name)
    return path.suffix.lower() or path.name.lower()


def _holds_what_it_says(path: Path) -> bool:
    """Return whether a plain file begins as its kind does; a text holds no zero byte, as most binary files do."""
    magic = _BINARIES.get(_type(path.name))
    with path.open("rb") as file:
        if magic is not None:
            return file.read(len(magic)) == magic
        if file.read(2) in _BYTE_ORDER_MARKS:
            return True
        file.seek(0)
        return not any(b"\0" in chunk for chunk in iter(lambda: file.read(1 << 20), b""))
