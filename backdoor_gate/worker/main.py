"""The child's side: give up what can be given up, measure, say one result, and go.

Started as `python -I -m backdoor_gate.worker.main <file descriptor>` with the job on standard input. Whatever a library
prints goes to the parent's capped capture; the file descriptor alone is the channel.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.errors import GateError, WorkerError
from backdoor_gate.worker import lockdown, messages, orders, wire

if TYPE_CHECKING:
    from backdoor_gate.records import Job, Progress, Scan


class Reporter:
    """Sends progress at a bounded rate; the end of a detector is never left out.

    Args:
        channel: file descriptor of the channel.
        nonce: of the job.
    """

    def __init__(self, channel: int, nonce: str) -> None:
        self._channel = channel
        self._nonce = nonce
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Send `progress`, unless one was sent just now."""
        now = time.monotonic()
        if now >= self._next or progress.done == progress.total:
            self._next = now + 1 / wire.PROGRESS_PER_SECOND
            messages.send_progress(self._channel, self._nonce, progress)


def main(channel: int) -> None:
    """Read the job, do it, and write the result to the file descriptor `channel`."""
    os.set_inheritable(channel, False)
    job, nonce, deadline = orders.decode(sys.stdin.buffer.read())
    try:
        scan = _measure(job, deadline, Reporter(channel, nonce))
        messages.send_scan(channel, nonce, scan)
    except Exception as error:
        messages.send_failure(channel, nonce, explain(error))


def explain(error: Exception) -> GateError:
    """Return `error` itself if it explains itself, else the error that says what it means for the scan."""
    if isinstance(error, GateError):
        return error
    if isinstance(error, MemoryError) or wire.tells_of_memory(str(error)):
        return wire.out_of_memory()
    what = wire.plain(f"scanner failed: {type(error).__name__}: {error}", 300)
    return WorkerError(what, hint="scan again; if it repeats, report it with the model's format and the policy")


def _measure(job: Job, deadline: float, report: Reporter) -> Scan:
    """Lock this process down, import torch, and scan in the time that is left then."""
    lockdown.limit_process()
    if job.device == "cpu" or not _has_cuda():
        lockdown.limit_memory(job.limits.memory)
    from backdoor_gate.scan import session  # noqa: PLC0415 (imports torch: only behind the limits)

    limits = replace(job.limits, seconds=max(0.0, deadline - time.monotonic()))
    return session.measure(replace(job, limits=limits), report)


def _has_cuda() -> bool:
    """Return whether there is a CUDA device; its driver does not work under a limit on address space."""
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # At once: after the result nothing of the candidate's runs any more, no destructor and no exit handler.
    os._exit(0)
