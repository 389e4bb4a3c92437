"""The place a child is locked into, on the parent's side: its folders, its user, and the namespaces around it."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.worker import bubblewrap, environment, identity, tiers
from backdoor_gate.worker.confinement import SECRET, Confinement
from backdoor_gate.worker.grants import Access, Grant, gpu_devices, of_job
from backdoor_gate.worker.wire import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import Job
    from backdoor_gate.worker.bubblewrap import Bubble
    from backdoor_gate.worker.schema import LockdownDocument
    from backdoor_gate.worker.tiers import Isolation

_OWN_PROCESSES = 64
_SHARED_PROCESSES = 1024
_PROCESSES_PER_CORE = 8


class Cell:
    """Fresh folders for one child, and what is around it. Close it when the child has ended.

    Args:
        job: what the child will be given.

    Raises:
        OSError: the folders could not be made.
    """

    def __init__(self, job: Job) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="backdoor-gate-", ignore_cleanup_errors=True)
        root = Path(self._folder.name)
        self.scratch, self._canary = root / "scratch", root / "canary"
        self._job = job
        self._gpu = job.device != "cpu" and bool(gpu_devices())
        self._grants = of_job(job, self.scratch)
        self._bubble: Bubble | None = None
        try:
            for folder in (self.scratch, self._canary):
                folder.mkdir(mode=0o700)
            (self._canary / SECRET).write_bytes(b"closed")
            self._user = _owner(root, self.scratch, self._canary, self._canary / SECRET)
            self.environment = environment.scrubbed(self.scratch, job.device)
            self._outside = self._surround()
        except BaseException:
            self.close()
            raise

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that the child's command needs."""
        return (self._bubble.info,) if self._bubble else ()

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs the child's in here."""
        return self._bubble.wrap(command) if self._bubble else list(command)

    def order(self, nonce: str) -> Confinement:
        """Return what the child is told first."""
        return Confinement(
            nonce=nonce,
            scratch=self.scratch,
            canary=self._canary,
            gate=os.getpid(),
            user=self._user,
            gpu=self._gpu,
            memory=self._job.limits.memory,
            processes=self._processes(),
            grants=self._grants,
        )

    def pid_inside(self, started: int) -> int:
        """Return the number of the child itself, where `started` is the process that was started."""
        return (self._bubble.pid_inside() if self._bubble else None) or started

    def assess(self, told: LockdownDocument, pid: int) -> Isolation:
        """Return the isolation of the child `pid`, which has locked itself down and waits for its job."""
        intact = [entry.name for entry in self._canary.iterdir()] == [SECRET]
        shared = bubblewrap.shared_namespaces(self._bubble.started) if self._bubble else []
        outside = f"namespaces shared: {' '.join(shared)}" if shared else self._outside
        return tiers.assess(
            told, tiers.kernel_facts(pid), intact=intact, own_user=self._user is not None, outside=outside
        )

    def exit_code(self, code: int) -> int:
        """Return the child's own exit code, -n after signal n, where `code` is that of the process that was started."""
        return 128 - code if self._bubble and code > 128 else code

    def close(self) -> None:
        """Remove the folders."""
        if self._bubble:
            self._bubble.close()
        self._folder.cleanup()

    def _surround(self) -> str:
        """Prepare namespaces; return why there are none, or an empty text."""
        path = bubblewrap.program()
        if path is None:
            return "no bubblewrap: not installed"
        if self._gpu:
            return "no bubblewrap: not used with a GPU"
        visible = (*self._grants, Grant(self._canary, Access.WRITE))
        bubble = bubblewrap.Bubble(path, visible, self.scratch, as_root=self._user is not None)
        fault = bubble.trial(self.environment)
        if fault:
            bubble.close()
            return f"no bubblewrap: {plain(fault, 120)}"
        self._bubble = bubble
        return ""

    def _processes(self) -> int:
        """Return how many processes and threads the child's user may have; 0 where they cannot be counted."""
        for_cores = _PROCESSES_PER_CORE * environment.available_cores()
        if self._user is not None:
            return _OWN_PROCESSES + for_cores
        if self._bubble or sys.platform != "linux":
            return 0
        return _SHARED_PROCESSES + for_cores + _tasks_of_user()


def _owner(*paths: Path) -> int | None:
    """Choose a user and give it the paths; None where the child cannot have a user of its own."""
    user = identity.choose()
    if user is None:
        return None
    try:
        for path in paths:
            os.chown(path, user, user)
    except OSError:  # a number that means nothing in this container
        for path in paths:
            os.chown(path, os.getuid(), os.getgid())
        return None
    return user


def _tasks_of_user() -> int:
    """Return the threads of all of this user's processes that can be seen."""
    wanted, count = str(os.getuid()), 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError, KeyError, ValueError):
            facts = dict(line.split(":\t", 1) for line in status.read_text("ascii", "replace").splitlines())
            count += int(facts["Threads"]) if facts["Uid"].split()[0] == wanted else 0
    return count
