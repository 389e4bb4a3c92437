"""What the child gives up before it touches a byte of the candidate, in the order in which it has to be given up.

1. Limits, another user, no new privileges, Landlock: while there is one thread, so before any library is imported.
2. torch and the scan are imported, under Landlock already.
3. seccomp over all threads that there are by now: the imports may make calls that a scan does not need.

A step that the system does not offer is left out and told: the parent decides whether the rest will do.
"""

from __future__ import annotations

import errno
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.worker import grants, identity, kernel, landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.worker.confinement import Confinement

STEPS = ("user", "privileges", "landlock", "seccomp")
"""What may fail and is told."""

_SIGKILL = 9
_OPEN_FILES = 256
_FILE_BYTES = 16 << 20


@dataclass(slots=True)
class Lockdown:
    """How far it went."""

    threads: int = 0
    """Of this process when Landlock was applied: it covers one."""
    landlock: int = 0
    """Version of the interface that was used; 0 for none."""
    faults: dict[str, str] = field(default_factory=dict)
    """Steps that failed, each with the name of the system's error."""

    @property
    def is_worth_a_trial(self) -> bool:
        """Whether anything but the change of user was applied as it should be."""
        return not self.faults.keys() - {"user"}


def before_imports(order: Confinement) -> Lockdown:
    """Limit this process and confine it to its paths."""
    reached = Lockdown()
    _limit_resources(order)
    if sys.platform != "linux":
        reached.faults = dict.fromkeys(STEPS, errno.errorcode[errno.ENOSYS])
        return reached
    _attempt(reached, "user", lambda: _become(order.user))
    # After the change of user, which undoes both.
    kernel.prctl(kernel.SET_PARENT_DEATH_SIGNAL, _SIGKILL)
    kernel.prctl(kernel.SET_DUMPABLE, 0)
    _attempt(reached, "privileges", lambda: kernel.prctl(kernel.SET_NO_NEW_PRIVILEGES, 1))
    reached.threads = len(list(Path("/proc/self/task").iterdir()))

    def confine() -> None:
        everything = (*grants.of_interpreter(sys.path, order.scratch), *grants.of_system(gpu=order.gpu), *order.grants)
        reached.landlock = landlock.restrict(everything)

    _attempt(reached, "landlock", confine)
    return reached


def after_imports(order: Confinement, reached: Lockdown) -> None:
    """Filter the system calls of all threads."""
    if sys.platform == "linux":
        _attempt(reached, "seccomp", lambda: seccomp.restrict(gpu=order.gpu))


def hide() -> None:
    """Close this process's memory and environment to every other process of the same user. Does nothing off Linux."""
    if sys.platform == "linux":
        with suppress(OSError):  # then a locked child's attempt to read the environment tells
            kernel.prctl(kernel.SET_DUMPABLE, 0)


def limit_memory(size: int) -> None:
    """Bound the address space to `size` bytes. Linux only: other kernels accept no such limit.

    Importing torch and training a small convolution takes about 0.9 GiB of address space on two threads and some
    16 MiB more per further thread, so limits below 1.5 GiB leave no room to measure in. With CUDA the driver reserves
    more address space than any sensible limit, so there it must not be called.
    """
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, size)


def _limit_resources(order: Confinement) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, _FILE_BYTES)
    if order.processes:
        _limit(resource.RLIMIT_NPROC, order.processes)
    if not order.gpu:
        limit_memory(order.memory)


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (bound, bound))


def _become(user: int | None) -> None:
    if user is None:
        identity.give_up_capabilities()
    else:
        identity.become(user)


def _attempt(reached: Lockdown, step: str, take: Callable[[], None]) -> None:
    try:
        take()
    except OSError as error:
        reached.faults[step] = errno.errorcode.get(error.errno or 0, "unknown")
