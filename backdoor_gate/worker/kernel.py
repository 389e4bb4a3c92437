"""The C library, for the calls that Python does not offer."""

from __future__ import annotations

import ctypes
import os
from functools import cache

SET_PARENT_DEATH_SIGNAL = 1
SET_DUMPABLE = 4
SET_KEEP_CAPABILITIES = 8
SET_NO_NEW_PRIVILEGES = 38


@cache
def libc() -> ctypes.CDLL:
    """Return the C library of this process."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def checked(result: int) -> int:
    """Return a call's result.

    Raises:
        OSError: it is -1; with the error that the C library noted.
    """
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def syscall(number: int, *arguments: object) -> int:
    """Make a system call that the C library has no function for; integers are passed in full width.

    Raises:
        OSError: it fails.
    """
    wide = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return checked(libc().syscall(ctypes.c_long(number), *wide))


def prctl(option: int, value: int) -> None:
    """Set one property of this process. Linux only.

    Raises:
        OSError: the kernel refuses.
    """
    zero = ctypes.c_ulong(0)
    checked(libc().prctl(option, ctypes.c_ulong(value), zero, zero, zero))
