"""The child's side: lock down, show that it holds, get the job, measure, say one result, and go.

Started as `python -I -m backdoor_gate.worker.main <file descriptor>` with the orders on standard input: how to lock
down first, the job when the parent has seen the proof. Whatever a library prints goes to the parent's capped capture;
the file descriptor alone is the channel.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.errors import GateError, RefusedError, WorkerError
from backdoor_gate.examination import Task
from backdoor_gate.worker import allowance, answers, confinement, lockdown, messages, orders, probe, wire

if TYPE_CHECKING:
    from backdoor_gate.records import Job, Progress
    from backdoor_gate.worker.confinement import Confinement
    from backdoor_gate.worker.lockdown import Lockdown


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
    """Lock this process down, read the job, do it, and write the result to the file descriptor `channel`."""
    os.set_inheritable(channel, False)
    order = confinement.decode(sys.stdin.buffer.readline())
    reached = lockdown.before_imports(order)
    try:
        _work(order, reached, channel)
    except Exception as error:
        messages.send_failure(channel, order.nonce, explain(error))


def explain(error: Exception) -> GateError:
    """Return `error` itself if it explains itself, else the error that says what it means for the scan."""
    if isinstance(error, GateError):
        return error
    if isinstance(error, MemoryError) or wire.tells_of_memory(str(error)):
        return wire.out_of_memory()
    what = wire.plain(f"scanner failed: {type(error).__name__}: {error}", 300)
    return WorkerError(what, hint="scan again; if it repeats, report it with the model's format and the policy")


def _work(order: Confinement, reached: Lockdown, channel: int) -> None:
    """Import torch, close the last doors, show that they are closed, and do the job in the time that is left then."""
    # Imports torch and starts threads: only behind the limits and Landlock, which covers one thread.
    from backdoor_gate.scan import session  # noqa: PLC0415

    session.get_ready()
    if order.gpu and not _start_gpu():
        lockdown.limit_memory(order.memory)
    lockdown.after_imports(order, reached)
    attempts = probe.attempt_all(order) if reached.is_worth_a_trial else {}
    messages.send_lockdown(channel, order.nonce, reached, attempts)
    job, deadline, task = orders.decode(sys.stdin.buffer.read())
    job = replace(job, limits=replace(job.limits, seconds=max(0.0, deadline - time.monotonic())))
    try:
        _answer(job, task, order, channel)
    except RefusedError as refusal:
        if job.device == "cuda":
            raise with_format(refusal, job) from refusal
        raise


def _answer(job: Job, task: Task, order: Confinement, channel: int) -> None:
    from backdoor_gate.scan import session  # noqa: PLC0415 (torch, as above)

    if task is Task.SCAN:
        scan = session.measure(job, Reporter(channel, order.nonce))
        messages.send_scan(channel, order.nonce, scan, allowance.result_bytes(job))
        return
    from backdoor_gate.scan.examination.examine import examine  # noqa: PLC0415 (torch, as above)

    answers.send_examination(channel, order.nonce, examine(job, task))


def with_format(refusal: RefusedError, job: Job) -> RefusedError:
    """Return a refusal with the format that can run code, where the candidate is of one: no such gets the GPU."""
    from backdoor_gate.scan import loading  # noqa: PLC0415 (torch, as above)

    try:
        kind = loading.find(job.candidate, (*job.formats, *loading.unsafe.FORMATS), job.weights_in).kind
    except RefusedError:
        return refusal
    executable = kind if kind in loading.unsafe.FORMATS else ""
    return RefusedError(refusal.what, where=refusal.where, hint=refusal.hint, executable=executable)


def _start_gpu() -> bool:
    """Return whether torch can use a GPU, and let its driver and its libraries set themselves up.

    That takes more than a scan does; the libraries are loaded at the first convolution and the first product.
    """
    import torch  # noqa: PLC0415

    from backdoor_gate.scan import machine  # noqa: PLC0415 (torch, as above)
    from backdoor_gate.scan.network import precision  # noqa: PLC0415

    if not torch.cuda.is_available():
        return False
    device = machine.choose_device("cuda")
    for dtype in (torch.float32, torch.bfloat16) if precision.has_instructions(device) else (torch.float32,):
        images, kernels = torch.ones(1, 8, 8, 8, dtype=dtype), torch.ones(8, 8, 3, 3, dtype=dtype)
        leaf = images.to(device).requires_grad_()
        rows = torch.conv2d(leaf, kernels.to(device)).flatten(1)
        torch.autograd.backward((rows @ rows.T).sum())
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # At once: after the result nothing of the candidate's runs any more, no destructor and no exit handler.
    os._exit(0)
