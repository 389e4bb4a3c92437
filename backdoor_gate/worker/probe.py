"""What a locked child tries before it gets its job: each attempt must fail, and how it failed is told to the parent.

Nothing of the candidate's has been read at that time, so the child still speaks for itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.worker.confinement import SECRET
from backdoor_gate.worker.kernel import checked, libc

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.worker.confinement import Confinement

DONE = "done"
"""Outcome of an attempt that was not denied."""

_PTRACE_ATTACH = 16


def attempt_all(order: Confinement) -> dict[str, str]:
    """Try everything a locked child must not be able to do; none of it does harm where it succeeds.

    Returns:
        By attempt, the name of the error that it met, or `DONE`.
    """
    return {name: _outcome(attempt, order) for name, attempt in ATTEMPTS.items()}


def _outcome(attempt: Callable[[Confinement], object], order: Confinement) -> str:
    try:
        attempt(order)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "unknown")
    return DONE


def _open_socket(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _execute(order: Confinement) -> None:
    # Were it not denied, the kernel would say that there is no such program.
    os.execv(order.canary / "no-such-program", ["no-such-program"])  # noqa: S606


def _trace() -> None:
    # Process 0 does not exist: where tracing is not denied, that is the answer.
    nothing = ctypes.c_void_p(0)
    checked(libc().ptrace(ctypes.c_long(_PTRACE_ATTACH), ctypes.c_long(0), nothing, nothing))


ATTEMPTS: dict[str, Callable[[Confinement], object]] = {
    "TCP": lambda _: _open_socket(socket.AF_INET, socket.SOCK_STREAM),
    "UDP": lambda _: _open_socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix socket": lambda _: _open_socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "program": _execute,
    "process": lambda _: _fork(),
    "reading": lambda order: (order.canary / SECRET).read_bytes(),
    "writing": lambda order: (order.canary / "written").write_bytes(b""),
    "gate's environment": lambda order: Path(f"/proc/{order.gate}/environ").read_bytes(),
    "signal": lambda order: os.kill(order.gate, 0),
    "tracing": lambda _: _trace(),
}
"""What is tried, in words that follow 'not denied:'."""
