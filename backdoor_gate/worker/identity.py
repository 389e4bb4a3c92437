"""Another user for the worker, where the gate runs as root: one that owns nothing but the scratch folder.

The user keeps one of root's capabilities, to read past file modes: the candidate's private copy and the clean data are
root's, and the interpreter may be. Which files it can read at all is Landlock's business.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import struct
import sys
from pathlib import Path

from backdoor_gate.worker.kernel import SET_KEEP_CAPABILITIES, checked, libc, prctl

POOL = range(61_184, 65_520)
"""Numbers that no account has: systemd takes them for users that come and go with a service."""

_CAPABILITIES_VERSION_3 = 0x20080522
_READ_AND_WRITE_PAST_MODES, _READ_PAST_MODES, _KILL, _SET_GROUP, _SET_USER = 1, 2, 5, 6, 7


def choose() -> int | None:
    """Return a user for a worker, or None where this process cannot give it one of its own, or could not kill it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    held = _held()
    reading = held & (1 << _READ_PAST_MODES | 1 << _READ_AND_WRITE_PAST_MODES)
    needed = 1 << _SET_USER | 1 << _SET_GROUP | 1 << _KILL
    return secrets.choice(POOL) if reading and held & needed == needed else None


def become(user: int) -> None:
    """Become this user, with its own group and no other, for good.

    Raises:
        OSError: the kernel refuses, for instance because the number means nothing in this container.
    """
    held = _held()
    wanted = 1 << _READ_PAST_MODES
    kept = held & wanted or held & 1 << _READ_AND_WRITE_PAST_MODES
    prctl(SET_KEEP_CAPABILITIES, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _hold(kept)


def give_up_capabilities() -> None:
    """Give up every capability of this process.

    Raises:
        OSError: the kernel refuses.
    """
    _hold(0)


def _held() -> int:
    """Return this process's effective capabilities as a bit set."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _hold(capabilities: int) -> None:
    """Hold exactly these of the first 32 capabilities, none to be passed on."""
    header = struct.pack("Ii", _CAPABILITIES_VERSION_3, 0)
    low = struct.pack("III", capabilities, capabilities, 0)
    checked(libc().capset(ctypes.c_char_p(header), ctypes.c_char_p(low + bytes(12))))
