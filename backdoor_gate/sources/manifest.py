"""The canonical manifest of a folder: which regular files it holds, and the digest that stands for exactly these bytes.

Whatever cannot be named, counted or hashed without surprise is refused: links, devices, pipes, names that lie on a
terminal, folders without end. Nothing is followed, nothing is opened that could block.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from backdoor_gate.candidate_facts import FileEntry
from backdoor_gate.errors import RefusedError, UsageError
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader
    from pathlib import Path

MAX_FILES = 10_000
"""Entries (files and folders) of one tree. Models have dozens; image folders of a clean set, thousands."""
MAX_DEPTH = 32
"""Folders below each other. MLflow writes two; far deeper trees run into the system's path limit."""
MAX_BYTES = 20 * 2**30
"""Sum of all files. The largest image classifiers have under 10 GiB of weights, and the copy must fit on a runner."""
MAX_NAME_BYTES = 200
"""Of one name in UTF-8. File systems stop at 255; temporary and derived names need the rest."""

_HEADER = b"backdoor-gate manifest 1\n"
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class TreeFile(NamedTuple):
    """A regular file found in a tree: POSIX path relative to the root, where it is, its size in bytes."""

    relative: str
    path: Path
    size: int


class Budget:
    """Counts the entries and bytes of one tree and refuses the first beyond a limit, so that no listing runs away."""

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0
        self._folded: set[str] = set()

    def add(self, relative: str, size: int = 0) -> None:
        """Count one entry.

        Args:
            relative: POSIX path relative to the root of the tree, of a file or a folder.
            size: bytes of a file, 0 for a folder.

        Raises:
            RefusedError: the name is not allowed, collides with another, or a limit is passed.
        """
        _check_name(relative)
        self.entries += 1
        self.bytes += size
        if self.entries > MAX_FILES:
            raise RefusedError(f"more than {MAX_FILES} files", hint="upload the model without its by-products")
        if self.bytes > MAX_BYTES:
            raise RefusedError(f"larger than the byte limit of {MAX_BYTES} bytes", where=shown(relative))
        folded = unicodedata.normalize("NFC", relative).casefold()
        if folded in self._folded:
            raise _bad_name(relative, "comes twice, or differs from another only in case or Unicode form")
        self._folded.add(folded)


def shown(name: str) -> str:
    """Return a name of unknown origin as at most 120 plain ASCII characters, everything else escaped."""
    return one_line(name, 120, ascii_only=True)


def empty_folder(relative: str) -> RefusedError:
    """Return the refusal of a folder that holds nothing: no digest speaks of it, and a loader may ask for its name."""
    return RefusedError(f"empty folder: {shown(relative)}", hint="remove it; no digest would speak of it")


def regular_files(root: Path, *, single_links: bool = True, empty_folders: bool = True) -> Iterator[TreeFile]:
    """Walk a folder without following or opening anything.

    Args:
        root: the folder.
        single_links: refuse a file that has a second name elsewhere (hard link).
        empty_folders: pass over a folder that holds nothing, rather than refuse it. The root itself may be empty.

    Raises:
        RefusedError: an entry is no regular file, its name is not allowed, or the tree passes a limit.
        OSError: a folder could not be read.
    """
    budget = Budget()
    folders = [(root, "", 1)]
    while folders:
        folder, prefix, depth = folders.pop()
        before = budget.entries
        with os.scandir(folder) as entries:
            for entry in entries:
                relative = f"{prefix}{entry.name}"
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    if depth >= MAX_DEPTH:
                        raise RefusedError("path too deep", where=shown(relative))
                    budget.add(relative)
                    folders.append((folder / entry.name, f"{relative}/", depth + 1))
                    continue
                budget.add(relative, status.st_size)
                _check_regular(status, relative, single_links)
                yield TreeFile(relative, folder / entry.name, status.st_size)
        if prefix and budget.entries == before and not empty_folders:
            raise empty_folder(prefix.rstrip("/"))


def open_regular(path: Path, relative: str, *, single_links: bool = True) -> BufferedReader:
    """Open a regular file for reading; never follows a link at its end and never waits on a pipe or device.

    Raises:
        RefusedError: it is not, or no longer, a regular file.
        OSError: it could not be opened.
    """
    _check_regular(path.lstat(), relative, single_links)
    descriptor = os.open(path, _READ)
    try:
        _check_regular(os.fstat(descriptor), relative, single_links)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def manifest(root: Path) -> tuple[FileEntry, ...]:
    """Hash every file of a candidate's private copy.

    Args:
        root: the copy. A link to one of its files from elsewhere is refused, as its bytes would not be ours alone.

    Returns:
        One entry per file, sorted by path.

    Raises:
        RefusedError: the folder is empty, or holds what `regular_files` refuses.
        OSError: a file could not be read.
    """
    entries = _entries(root, single_links=True)
    if not entries:
        raise RefusedError("candidate has no files", hint="check what was logged under this name")
    return entries


def digest(files: Iterable[FileEntry]) -> str:
    r"""Return `sha256:<hex>` of the canonical serialisation of a manifest.

    It is the line `backdoor-gate manifest 1`, then one line `<sha256> <size> <path>` per file, sorted by path, each
    ended by `\n`, in UTF-8. No path holds a newline, so two different manifests never serialise alike.
    """
    total = hashlib.sha256(_HEADER)
    for entry in sorted(files, key=lambda entry: entry.path):
        total.update(f"{entry.sha256} {entry.size} {entry.path}\n".encode())
    return f"sha256:{total.hexdigest()}"


def path_digest(path: Path) -> str:
    """Return the digest of the user's own file or folder (clean data, code): hard links are fine, other links are not.

    A single file counts as a manifest of one entry named `.`, so that renaming it changes nothing.

    Raises:
        UsageError: there is nothing to hash, it cannot be read, or it holds what `regular_files` refuses.
    """
    try:
        root = path.resolve(strict=True)
        if root.is_dir():
            entries = _entries(root, single_links=False)
        else:
            entries = (_entry(TreeFile(".", root, root.stat().st_size), single_links=False),)
    except RefusedError as error:
        raise UsageError(error.what, where=_join(path, error.where), hint=error.hint) from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=shown(str(error.filename or path))) from error
    if not entries:
        raise UsageError("folder has no files", where=shown(str(path)))
    return digest(entries)


def _entries(root: Path, *, single_links: bool) -> tuple[FileEntry, ...]:
    files = sorted(regular_files(root, single_links=single_links))
    return tuple(_entry(file, single_links=single_links) for file in files)


def _entry(file: TreeFile, *, single_links: bool) -> FileEntry:
    with open_regular(file.path, file.relative, single_links=single_links) as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    if size != file.size:
        raise RefusedError("changed while it was read", where=shown(file.relative))
    return FileEntry(file.relative, size, sha256)


def _join(path: Path, inner: str) -> str:
    return f"{shown(str(path))}/{inner}" if inner else shown(str(path))


def _check_regular(status: os.stat_result, relative: str, single_links: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"not a regular file: {shown(relative)}", hint="replace links by copies of their files")
    if single_links and status.st_nlink > 1:
        raise RefusedError(f"not a regular file: {shown(relative)} (hard link)", hint="copy the file")


def _check_name(relative: str) -> None:
    for name in relative.split("/"):
        _check_part(name, relative)


def _check_part(name: str, relative: str) -> None:
    if name in {"", ".", ".."}:
        raise _bad_name(relative, "empty or relative")
    if not name.isprintable():  # control, bidirectional and zero-width marks, surrogates that stand for non-UTF-8
        raise _bad_name(relative, "control, bidirectional or non-UTF-8 characters")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise _bad_name(relative, f"longer than {MAX_NAME_BYTES} bytes")
    if "\\" in name or "::" in name:
        raise _bad_name(relative, "a backslash, or '::' as in workflow commands")


def _bad_name(relative: str, rule: str) -> RefusedError:
    return RefusedError(f"file name not allowed ({rule})", where=shown(relative), hint="rename the file")
