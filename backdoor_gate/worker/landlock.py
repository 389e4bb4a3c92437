"""Landlock: this process and all that it starts may reach the granted paths and nothing else.

Applied while the process has one thread, since it covers the calling thread and its offspring. An interface version
below 4 leaves TCP to seccomp, one below 6 leaves signals and abstract sockets to it.

Numbers and structures: [landlock(7)](https://man7.org/linux/man-pages/man7/landlock.7.html).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from backdoor_gate.worker.grants import Access
from backdoor_gate.worker.kernel import syscall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backdoor_gate.worker.grants import Grant

# The same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_TRUNCATE, _CONTROL_DEVICE = 1 << 14, 1 << 15
_ON_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE | _CONTROL_DEVICE

_RIGHTS = {
    Access.LIST: _READ_FOLDER,
    Access.READ: _READ_FILE | _READ_FOLDER,
    Access.WRITE: _WRITE_FILE | _READ_FILE | _READ_FOLDER | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE
    | _TRUNCATE,
    Access.DEVICE: _WRITE_FILE | _READ_FILE | _CONTROL_DEVICE,
}  # fmt: skip

_FILE_RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16)
"""How many rights on files each version knows; the last one stands for all later ones."""
_BIND_AND_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


def version() -> int:
    """Return the kernel's interface version, at least 1.

    Raises:
        OSError: this kernel has no Landlock, or it is switched off.
    """
    return syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)


def restrict(grants: Iterable[Grant]) -> int:
    """Confine this process to the grants, for good; no_new_privs must be set.

    Paths that are not there are left out. A later call can only narrow down further.

    Returns:
        The interface version that was used.

    Raises:
        OSError: this kernel has no Landlock, or it is switched off.
    """
    used = version()
    handled = _rights_on_files(used)
    network = _BIND_AND_CONNECT_TCP if used >= 4 else 0
    scopes = _ABSTRACT_SOCKETS_AND_SIGNALS if used >= 6 else 0
    attributes = struct.pack("QQQ", handled, network, scopes)[: 8 if used < 4 else 16 if used < 6 else 24]
    block = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = syscall(_CREATE_RULESET, block, len(attributes), 0)
    try:
        for grant in grants:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(ruleset, grant, handled)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return used


def _rights_on_files(used: int) -> int:
    known = _FILE_RIGHTS_BY_VERSION[min(used, len(_FILE_RIGHTS_BY_VERSION) - 1)]
    return (1 << known) - 1


def _allow(ruleset: int, grant: Grant, handled: int) -> None:
    place = os.open(grant.path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _RIGHTS[grant.access] & handled
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        if rights:
            beneath = struct.pack("=Qi", rights, place)
            syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.create_string_buffer(beneath, len(beneath)), 0)
    finally:
        os.close(place)
