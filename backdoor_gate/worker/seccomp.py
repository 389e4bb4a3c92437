"""A seccomp filter over all threads: what is not on the list of system calls fails with EPERM.

An allow-list, because a scan on a CPU makes few calls (`system_calls`), and a list of bad ones is out of date with the
next kernel. A denied call fails instead of killing, because libraries try things that they can do without. Calls newer
than the list fail with ENOSYS, from which the C library takes the older way.

The kernel runs a classic BPF program on every call: [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

from backdoor_gate.worker import system_calls
from backdoor_gate.worker.kernel import syscall

_SET_MODE_FILTER = 1
_FILTER_ALL_THREADS = 1

# Classic BPF: load a word, mask it, jump if equal, jump if greater or equal, return.
_LOAD, _AND, _JUMP_EQUAL, _JUMP_FROM, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_AUDIT = (0xC000003E, 0xC00000B7)
_X32_FROM = 0x40000000
"""Numbers of the x32 calls, another set of names for what an x86-64 kernel does."""

_WHOLE = 0xFFFFFFFF
_ACCESS_MODE, _TRUNCATE = 0o3, 0o1000
_NEW_THREAD, _NEW_NAMESPACES = 0x00010000, 0x7E020080
_DUPLICATE, _GET_FD, _SET_FD, _GET_FLAGS, _SET_FLAGS, _DUPLICATE_CLOEXEC = 0, 1, 2, 3, 4, 1030
_IS_TERMINAL, _IS_TERMINAL_2, _WINDOW_SIZE, _READABLE, _NON_BLOCKING = 0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421
_KEEP_ON_EXEC, _CLOSE_ON_EXEC = 0x5450, 0x5451
_GET_DUMPABLE, _SET_NAME, _GET_NAME, _GET_NO_NEW_PRIVILEGES, _NAME_MEMORY = 3, 15, 16, 39, 0x53564D41


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows a call if an argument, masked, is one of some values. All of these arguments have 32 bits."""

    argument: int
    values: tuple[int, ...]
    mask: int = _WHOLE


def restrict(*, gpu: bool) -> None:
    """Put the filter over all threads of this process, for good; no_new_privs must be set.

    Args:
        gpu: whether a GPU's driver must stay reachable.

    Raises:
        OSError: the kernel has no such filters, forbids them, or the architecture is another.
    """
    architecture = this_architecture()
    code = program(architecture, os.getpid(), gpu=gpu)
    block = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions, and where they are.
    header = ctypes.create_string_buffer(struct.pack("HP", len(code) // 8, ctypes.addressof(block)))
    strays = syscall(system_calls.SECCOMP[architecture], _SET_MODE_FILTER, _FILTER_ALL_THREADS, header)
    if strays:
        raise OSError(errno.ESRCH, f"thread {strays} has another filter")


def this_architecture() -> int:
    """Return the column of `system_calls` that this machine uses.

    Raises:
        OSError: it is neither x86-64 nor 64-bit Arm, or this is a 32-bit process.
    """
    columns = {"x86_64": system_calls.X86_64, "aarch64": system_calls.AARCH64}
    if platform.machine() not in columns or struct.calcsize("P") != 8:
        raise OSError(errno.EOPNOTSUPP, f"no filter for {platform.machine()}")
    return columns[platform.machine()]


def program(architecture: int, pid: int, *, gpu: bool) -> bytes:
    """Assemble the filter.

    Args:
        architecture: column of `system_calls`.
        pid: the process that may be sent signals: itself.
        gpu: whether a GPU's driver must stay reachable.
    """
    free = system_calls.FREE | (system_calls.WITH_GPU if gpu else {})
    lines = [
        _line(_LOAD, _ARCHITECTURE_AT),
        _line(_JUMP_EQUAL, _AUDIT[architecture], 1, 0),
        _line(_RETURN, _KILL_PROCESS),
        _line(_LOAD, _NUMBER_AT),
    ]
    lines += _answer_from(_X32_FROM, errno.EPERM)
    lines += _answer_from(system_calls.LAST_KNOWN + 1, errno.ENOSYS)
    lines += _if_equal(system_calls.CLONE3[architecture], [_line(_RETURN, _ERRNO | errno.ENOSYS)])
    for numbers in free.values():
        if numbers[architecture] != system_calls.ABSENT:
            lines += _if_equal(numbers[architecture], [_line(_RETURN, _ALLOW)])
    for name, rule in _rules(pid).items():
        number = system_calls.JUDGED[name][architecture]
        if name not in free and number != system_calls.ABSENT:
            lines += _if_equal(number, _judged(rule))
    return b"".join([*lines, _line(_RETURN, _ERRNO | errno.EPERM)])


def _rules(pid: int) -> dict[str, Rule]:
    """Return what an argument of each judged call must be.

    Before Landlock knew truncation, opening for reading could cut a file to nothing. `fcntl` and `ioctl` could make the
    kernel send signals to another process; `kill` and `prlimit64` name processes outright.
    """
    opening = tuple(way | cut for cut in (0, _TRUNCATE) for way in (0, 1, 2) if (way, cut) != (0, _TRUNCATE))
    descriptors = (_DUPLICATE, _GET_FD, _SET_FD, _GET_FLAGS, _SET_FLAGS, _DUPLICATE_CLOEXEC)
    questions = (_IS_TERMINAL, _IS_TERMINAL_2, _WINDOW_SIZE, _READABLE, _NON_BLOCKING, _KEEP_ON_EXEC, _CLOSE_ON_EXEC)
    return {
        "open": Rule(1, opening, _ACCESS_MODE | _TRUNCATE),
        "openat": Rule(2, opening, _ACCESS_MODE | _TRUNCATE),
        "clone": Rule(0, (_NEW_THREAD,), _NEW_THREAD | _NEW_NAMESPACES),
        "fcntl": Rule(1, descriptors),
        "ioctl": Rule(1, questions),
        "prctl": Rule(0, (_GET_DUMPABLE, _SET_NAME, _GET_NAME, _GET_NO_NEW_PRIVILEGES, _NAME_MEMORY)),
        "prlimit64": Rule(0, (0,)),
        "kill": Rule(0, (pid,)),
        "tgkill": Rule(0, (pid,)),
        "sched_setaffinity": Rule(0, (0,)),
    }


def _line(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one instruction; a jump skips so many of the next."""
    return struct.pack("HBBI", code, if_true, if_false, operand)


def _if_equal(value: int, then: list[bytes]) -> list[bytes]:
    return [_line(_JUMP_EQUAL, value, 0, len(then)), *then]


def _answer_from(number: int, error: int) -> list[bytes]:
    return [_line(_JUMP_FROM, number, 0, 1), _line(_RETURN, _ERRNO | error)]


def _judged(rule: Rule) -> list[bytes]:
    lines = [_line(_LOAD, _ARGUMENTS_AT + 8 * rule.argument)]
    if rule.mask != _WHOLE:
        lines.append(_line(_AND, rule.mask))
    for value in rule.values:
        lines += _if_equal(value, [_line(_RETURN, _ALLOW)])
    return [*lines, _line(_RETURN, _ERRNO | errno.EPERM)]
