"""A private copy of local files: regular files only, read without following a link, within the limits of a manifest."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.sources.manifest import MAX_BYTES, TreeFile, open_regular, regular_files, shown
from backdoor_gate.strict_yaml import StrictYamlError, read

if TYPE_CHECKING:
    from pathlib import Path

REGISTERED_META = "registered_model_meta"
"""MLflow adds this file on download, with the name and version: it belongs to the download, not to the model."""
_META_KEYS = {"model_name", "model_version"}
_META_BYTES = 4096
"""Far beyond what a name of MLflow's longest and a number take."""

_CHUNK = 2**20


def copy_local(source: Path, destination: Path) -> Path:
    """Copy a file or folder of this machine into a folder.

    Args:
        source: the file or folder; a link at its very end is followed, as the user named it himself.
        destination: existing folder. A folder's content is copied into it, a file keeps its name.

    Returns:
        What now holds the copy: `destination`, or the file in it.

    Raises:
        RefusedError: the source holds what a manifest refuses, or an empty folder, which the copy would lose.
        UnmeasuredError: it could not be read, or there is no room for it.
    """
    try:
        root = source.resolve(strict=True)
        if root.is_dir():
            for file in list(regular_files(root, empty_folders=False)):
                _copy_file(file, destination / file.relative)
            return destination
        target = destination / root.name
        _copy_file(TreeFile(root.name, root, root.lstat().st_size), target)
    except OSError as error:
        raise _unreadable(error, source) from error
    return target


def strip_download_marks(root: Path) -> None:
    """Remove what MLflow's download added to a copy, so that it is not hashed.

    A file of that name with any other content stays, and is hashed and judged as every file is.

    Raises:
        RefusedError: it changed while it was read.
        OSError: it could not be read or removed.
    """
    path = root / REGISTERED_META
    if path.is_file() and _is_meta(path):
        path.unlink()


def _is_meta(path: Path) -> bool:
    """Whether a file holds what MLflow writes: a name and a version in plain YAML, and nothing else."""
    with open_regular(path, path.name) as stream:
        content = stream.read(_META_BYTES + 1)
    if len(content) > _META_BYTES:
        return False
    try:
        value = read(content).value
    except StrictYamlError:
        return False
    return (
        isinstance(value, dict) and value.keys() == _META_KEYS and all(isinstance(text, str) for text in value.values())
    )


def _copy_file(file: TreeFile, target: Path) -> None:
    if file.size > MAX_BYTES:
        raise RefusedError(f"larger than the byte limit of {MAX_BYTES} bytes", where=shown(file.relative))
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_regular(file.path, file.relative) as stream, target.open("xb") as copy:
        left = file.size
        while chunk := stream.read(min(left, _CHUNK)):
            left -= copy.write(chunk)
        if left or stream.read(1):
            raise RefusedError("changed while it was copied", where=shown(file.relative))


def _unreadable(error: OSError, source: Path) -> UnmeasuredError:
    where = shown(str(error.filename or source))
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UnmeasuredError(
            "no room for the private copy", where=where, hint="free space, or point TMPDIR elsewhere"
        )
    return UnmeasuredError(f"cannot be copied: {error.strerror}", where=where, hint="check the file's permissions")
