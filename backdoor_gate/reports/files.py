"""Writes a report's file whole or not at all, and says what to do where it cannot."""

from __future__ import annotations

import errno
import secrets
from typing import TYPE_CHECKING

from backdoor_gate.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

_HINTS = {
    errno.ENOSPC: "free some space and scan again",
    errno.EDQUOT: "free some space and scan again",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "name a folder that can be written",
    errno.EPERM: "name a folder that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def check_file(path: Path) -> None:
    """Find out that something other than a file stands where one is to be written.

    Raises:
        OutputError: it does.
    """
    if path.exists() and not path.is_file():
        kind = "is a folder" if path.is_dir() else "is not a regular file"
        raise OutputError(kind, where=str(path), hint="name a file")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through a temporary one beside it, so that no reader ever meets half of it.

    Folders on the way are made. The file gets the permissions that the process gives new files.

    Raises:
        OutputError: it could not be written; what stood there before still stands.
    """
    try:
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".backdoor-gate-{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    except ValueError as error:
        raise OutputError("not a file name", where=repr(str(path)), hint="choose another name") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        OutputError: it could not be made, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    except ValueError as error:
        raise OutputError("not a folder name", where=repr(str(path)), hint="choose another name") from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error of a path that the operating system did not let us write."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return OutputError("a file stands where a folder is needed", where=str(path), hint="name another folder")
    what = (error.strerror or "cannot be written").lower()
    return OutputError(what, where=str(path), hint=_HINTS.get(error.errno or 0, "check the path and scan again"))
