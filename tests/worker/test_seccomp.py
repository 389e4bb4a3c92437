"""The filter's program, run by a small interpreter of the same instructions, for both architectures."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.worker import seccomp, system_calls
from backdoor_gate.worker.system_calls import AARCH64, X86_64

PID = 4242
AUDIT = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
BOTH = pytest.mark.parametrize("architecture", [X86_64, AARCH64])

# By their numbers in the kernel's tables, written down here once more on purpose.
FORBIDDEN = {
    X86_64: {
        "socket": 41, "connect": 42, "bind": 49, "socketpair": 53, "fork": 57, "vfork": 58, "execve": 59,
        "execveat": 322, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "mount": 165, "bpf": 321,
        "keyctl": 250, "io_uring_setup": 425, "userfaultfd": 323, "open_by_handle_at": 304, "unshare": 272,
        "setns": 308, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "perf_event_open": 298,
        "chmod": 90, "fchmodat": 268, "chown": 92, "truncate": 76, "utimensat": 280, "setxattr": 188, "symlink": 88,
        "link": 86, "mknod": 133, "setsid": 112, "setpgid": 109, "setuid": 105, "tkill": 200, "rt_sigqueueinfo": 129,
        "memfd_create": 319, "shmget": 29, "seccomp": 317, "capset": 126, "personality": 135, "creat": 85,
    },
    AARCH64: {
        "socket": 198, "connect": 203, "bind": 200, "socketpair": 199, "execve": 221, "execveat": 281, "ptrace": 117,
        "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40, "bpf": 280, "keyctl": 219,
        "io_uring_setup": 425, "userfaultfd": 282, "open_by_handle_at": 265, "unshare": 97, "setns": 268,
        "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "perf_event_open": 241, "fchmodat": 53,
        "fchownat": 54, "truncate": 45, "utimensat": 88, "setxattr": 5, "symlinkat": 36, "linkat": 37, "mknodat": 33,
        "setsid": 157, "setpgid": 154, "setuid": 146, "tkill": 130, "rt_sigqueueinfo": 138, "memfd_create": 279,
        "shmget": 194, "seccomp": 277, "capset": 91, "personality": 92,
    },
}  # fmt: skip


def answer(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Return what the kernel would do with a call."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), audit, 0, *padded)
    lines = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, operand = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x15:
            at += if_true if accumulator == operand else if_false
        elif code == 0x35:
            at += if_true if accumulator >= operand else if_false
        else:
            assert code == 0x06
            return int(operand)


def decide(architecture: int, number: int, *arguments: int, gpu: bool = False) -> int:
    return answer(seccomp.program(architecture, PID, gpu=gpu), AUDIT[architecture], number, *arguments)


@BOTH
def test_every_call_on_the_list_is_allowed(architecture: int) -> None:
    for name, numbers in system_calls.FREE.items():
        if numbers[architecture] != system_calls.ABSENT:
            assert decide(architecture, numbers[architecture], *[0xFFFFFFFF] * 6) == ALLOW, name


@BOTH
@pytest.mark.parametrize("gpu", [False, True])
def test_dangerous_calls_are_refused(architecture: int, gpu: bool) -> None:
    for name, number in FORBIDDEN[architecture].items():
        if not (gpu and name in system_calls.WITH_GPU):
            assert decide(architecture, number, gpu=gpu) == REFUSE | errno.EPERM, name


JUDGED = [
    ("openat", (0, 0, 0o0), True),
    ("openat", (0, 0, 0o1 | 0o100 | 0o1000 | 0o2000000), True),
    ("openat", (0, 0, 0o1000), False),
    ("openat", (0, 0, 0o1000 | 0o2000000), False),
    ("open", (0, 0o2 | 0o1000), True),
    ("open", (0, 0o1000), False),
    ("clone", (0x00010000 | 0x100 | 0x200 | 0x400 | 0x800,), True),
    ("clone", (17,), False),
    ("clone", (0x4000 | 0x100 | 17,), False),
    ("clone", (0x00010000 | 0x10000000,), False),
    ("fcntl", (3, 1030), True),
    ("fcntl", (3, 2, 1), True),
    ("fcntl", (3, 8, 1), False),
    ("fcntl", (3, 10, 9), False),
    ("fcntl", (3, 1033), False),
    ("ioctl", (0, 0x5401), True),
    ("ioctl", (0, 0x5412), False),
    ("ioctl", (0, 0x8901), False),
    ("ioctl", (0, 0x5452), False),
    ("prctl", (15,), True),
    ("prctl", (1, 0), False),
    ("prctl", (4, 1), False),
    ("prctl", (22,), False),
    ("prlimit64", (0, 7), True),
    ("prlimit64", (1, 7), False),
    ("kill", (PID, 9), True),
    ("kill", (0, 9), False),
    ("kill", (0xFFFFFFFF, 9), False),
    ("kill", (0xFFFFFFFF - PID + 1, 9), False),
    ("tgkill", (PID, 1, 6), True),
    ("tgkill", (1, 1, 6), False),
    ("sched_setaffinity", (0,), True),
    ("sched_setaffinity", (1,), False),
]


@BOTH
@pytest.mark.parametrize(("name", "arguments", "allowed"), JUDGED)
def test_some_calls_are_judged_by_an_argument(
    architecture: int, name: str, arguments: tuple[int, ...], allowed: bool
) -> None:
    number = system_calls.JUDGED[name][architecture]
    if number == system_calls.ABSENT:
        pytest.skip("not a call of this architecture")
    assert decide(architecture, number, *arguments) == (ALLOW if allowed else REFUSE | errno.EPERM)
    # The upper half of a 32-bit argument is the caller's to fill, and means nothing to the kernel.
    dirty = [argument | 0xDEAD << 32 for argument in arguments]
    assert decide(architecture, number, *dirty) == (ALLOW if allowed else REFUSE | errno.EPERM)


@BOTH
def test_the_c_library_is_told_to_take_the_older_way(architecture: int) -> None:
    assert decide(architecture, system_calls.CLONE3[architecture]) == REFUSE | errno.ENOSYS
    assert decide(architecture, system_calls.LAST_KNOWN + 1) == REFUSE | errno.ENOSYS


@BOTH
def test_another_architectures_calls_kill(architecture: int) -> None:
    program = seccomp.program(architecture, PID, gpu=False)
    i386 = 0x40000003
    for audit in (i386, AUDIT[1 - architecture]):
        assert answer(program, audit, 0) == KILL


def test_x32_calls_are_refused() -> None:
    for number in (0, 41, 59, 512, 520):
        assert decide(X86_64, 0x40000000 | number) == REFUSE | errno.EPERM


@BOTH
def test_a_gpus_driver_may_be_spoken_to(architecture: int) -> None:
    number = system_calls.JUDGED["ioctl"][architecture]
    assert decide(architecture, number, 3, 0xC020462A) == REFUSE | errno.EPERM
    assert decide(architecture, number, 3, 0xC020462A, gpu=True) == ALLOW


@given(st.sampled_from([X86_64, AARCH64]), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_nothing_else_is_ever_allowed(architecture: int, number: int, arguments: list[int]) -> None:
    known = {numbers[architecture] for table in (system_calls.FREE, system_calls.JUDGED) for numbers in table.values()}
    if number not in known:
        assert decide(architecture, number, *arguments) != ALLOW


@BOTH
def test_no_two_calls_share_a_number(architecture: int) -> None:
    tables = (system_calls.FREE, system_calls.JUDGED)
    numbers = [entry[architecture] for table in tables for entry in table.values()]
    present = [number for number in numbers if number != system_calls.ABSENT]
    assert len(present) == len(set(present))
    assert max(present) <= system_calls.LAST_KNOWN
    assert not set(present) & set(FORBIDDEN[architecture].values())
