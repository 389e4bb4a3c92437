"""The parent's side: start the locked child, hear it out within its limits, and turn whatever it does into evidence.

A child that hangs, dies, floods or forges ends as a `WorkerError` with its reason, never as a pass and never as a
traceback. Nothing here imports a tensor library: the process that holds credentials never parses a tensor.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import WorkerError
from backdoor_gate.examination import Task
from backdoor_gate.worker import confinement, lockdown, orders, tiers, wire
from backdoor_gate.worker.cell import Cell
from backdoor_gate.worker.listener import Listener
from backdoor_gate.worker.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backdoor_gate.examination import Examination
    from backdoor_gate.records import Job, Progress, Scan
    from backdoor_gate.worker.schema import LockdownDocument
    from backdoor_gate.worker.tiers import Isolation

COMMAND = (sys.executable, "-I", "-B", "-m", "backdoor_gate.worker.main")
_SIGKILL = 9
_KILLED_IN_SHELL = 128 + _SIGKILL


def run(
    job: Job,
    on_progress: Callable[[Progress], None],
    *,
    minimum: str = tiers.C,
    command: Sequence[str] = COMMAND,
) -> Scan:
    """Measure a candidate in a child process of its own.

    On Linux this process's memory and environment are closed to the user's other processes, and stay so.

    Args:
        job: what to measure, with the hard limits on time and memory.
        on_progress: called in this process as the scan moves on, about ten times a second at most.
        minimum: weakest isolation tier that will do; with less the child is never given its job.
        command: the child's program and first arguments.

    Returns:
        What was measured. Isolation, seed and peak memory are this side's own knowledge, not the child's word.

    Raises:
        RefusedError: the candidate's bytes are not acceptable.
        UsageError: the clean data, the architecture or the device that the policy names will not do.
        UnmeasuredError: the model cannot be measured, or not in that isolation; WorkerError where the child died, ran
            out of time or memory, or broke the channel's rules.
    """
    listener, peak_memory = _converse(job, Task.SCAN, on_progress, minimum, command)
    return replace(listener.outcome(), peak_memory=peak_memory)


def examine(
    job: Job, task: Task, *, minimum: str = tiers.C, command: Sequence[str] = COMMAND
) -> tuple[Examination, Isolation]:
    """Ask a child process of its own for facts about a candidate or about this machine; raises as `run`.

    Args:
        job: what to load, and how.
        task: what to find out; not a scan.
        minimum: weakest isolation tier that will do.
        command: the child's program and first arguments.

    Returns:
        The facts, and the isolation that was reached: this side's own knowledge.
    """
    listener, _ = _converse(job, task, lambda _: None, minimum, command)
    return listener.examined()


def _converse(
    job: Job, task: Task, on_progress: Callable[[Progress], None], minimum: str, command: Sequence[str]
) -> tuple[Listener, int]:
    """Start a child, give it the job, and hear it out; return what was heard, and the child's peak memory in bytes."""
    deadline = time.monotonic() + job.limits.seconds
    message = orders.encode(job, deadline, task)
    nonce = secrets.token_hex(16)
    kills = _kernel_kills()
    lockdown.hide()
    with contextlib.ExitStack() as stack:
        cell, child = _start(job, command, stack)

        def send_job(told: LockdownDocument) -> Isolation:
            child.pid = cell.pid_inside(child.pid)
            isolation = cell.assess(told, child.pid)
            isolation.require(minimum)
            child.send(message, last=True)
            return isolation

        listener = Listener(job, nonce, send_job, on_progress, task)
        child.send(confinement.encode(cell.order(nonce)))
        in_time = child.converse(listener.hear, deadline)
    if not in_time:
        hint = "raise limits.time or --budget, or lower the detectors' steps"
        reached = f", when {listener.reached()}" if task is Task.SCAN else ""
        raise WorkerError(f"timed out after {job.limits.seconds:g} s{reached}", hint=hint)
    if child.exit_code != 0:
        raise _death(cell.exit_code(child.exit_code), child.last_words, killed_by_kernel=_kernel_kills() > kills)
    return listener, child.peak_memory


def _start(job: Job, command: Sequence[str], stack: contextlib.ExitStack) -> tuple[Cell, Child]:
    """Start the child in a fresh cell; `stack` ends it first and removes the cell then."""
    try:
        cell = Cell(job)
        stack.callback(cell.close)
        child = Child(cell.command(command), cell.environment, cell.scratch, cell.descriptors)
    except OSError as error:
        hint = "check free memory, processes and space in the temporary folder"
        raise WorkerError(f"scanner process could not start: {error.strerror}", hint=hint) from error
    stack.callback(child.end)
    return cell, child


def _death(code: int, last_words: str, *, killed_by_kernel: bool) -> WorkerError:
    """Say how the child died, as far as its exit code, its last line and the kernel's counter tell."""
    killed_for_memory = code == _KILLED_IN_SHELL or (code == -_SIGKILL and killed_by_kernel)
    if killed_for_memory or wire.tells_of_memory(last_words):
        return wire.out_of_memory()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    said = wire.plain(next((line.strip() for line in reversed(last_words.split("\n")) if line.strip()), ""), 200)
    hint = "scan again; if it repeats, treat the candidate as hostile or the installation as broken"
    return WorkerError(f"scanner process died ({how}){said and ': ' + said}", hint=hint)


def _kernel_kills() -> int:
    """Return how many processes this machine's kernel has killed for want of memory, or 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
