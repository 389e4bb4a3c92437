"""An overall limit on waiting for a registry: a server that sends a byte at a time never trips a socket's timeout."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backdoor_gate.errors import RegistryReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

VARIABLE = "BACKDOOR_GATE_REGISTRY_TIMEOUT"
"""Environment variable: seconds that one exchange with the registry may take, downloads included."""
DEFAULT = 900.0
_LONGEST = 1e9
"""Seconds that a timer of the system can count."""
_AGAIN = 1.0
"""Seconds until the next attempt to leave: a thread pool on the way out waits for its threads."""


def limit() -> float:
    """Return the seconds that one exchange may take; what is no positive number, or too large, is ignored."""
    try:
        seconds = float(os.environ.get(VARIABLE, DEFAULT))
    except ValueError:
        return DEFAULT
    return seconds if 0 < seconds <= _LONGEST else DEFAULT


@contextmanager
def patience(where: str) -> Iterator[None]:
    """Wait inside this block no longer than `limit()`.

    Works in the main thread of a POSIX process, by its alarm; elsewhere, and inside another block, it does nothing.

    Args:
        where: what is being waited for, for the message.

    Raises:
        RegistryReadError: the time is over.
    """
    idle = hasattr(signal, "setitimer") and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    if not idle or threading.current_thread() is not threading.main_thread():
        yield
        return
    seconds = limit()

    def over(_number: int, _frame: FrameType | None) -> None:
        what = f"no complete answer within {seconds:g} s"
        raise RegistryReadError(what, where=where, hint=f"check the server, or raise {VARIABLE}")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
