"""Namespaces around the child, where bubblewrap is installed and the system lets it work: tier A.

The child gets a file system of its own with nothing but what it was granted, and no network, no other processes and no
shared memory in sight. Inside, it locks itself down as without bubblewrap.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backdoor_gate.worker.grants import Access, Grant, of_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TRIAL_SECONDS = 10
_INFO_BYTES = 4096
_NAMESPACES = ("net", "pid", "ipc", "mnt", "uts")
_MOUNTS = {Access.READ: "--ro-bind-try", Access.WRITE: "--bind"}
_TO_CHANGE_USER = ("CAP_SETUID", "CAP_SETGID", "CAP_DAC_READ_SEARCH")


def program() -> str | None:
    """Return where bubblewrap is, or None."""
    return shutil.which("bwrap") if sys.platform == "linux" else None


class Bubble:
    """One run of bubblewrap.

    Args:
        path: of the program.
        grants: of the job; what the interpreter needs is added.
        folder: scratch folder, and working folder inside.
        as_root: whether the gate is root and the child changes its user by itself.
    """

    def __init__(self, path: str, grants: Iterable[Grant], folder: Path, *, as_root: bool) -> None:
        everything = (*of_interpreter(_import_path(), folder), *grants)
        self._options = [path, *_separation(as_root=as_root), "--die-with-parent"]
        self._options += ["--proc", "/proc", "--dev", "/dev", *_mounts(everything), "--chdir", str(folder)]
        self._info, self.info = os.pipe()
        """The write end, `info`, goes to bubblewrap."""

    def trial(self, environment: dict[str, str]) -> str:
        """Start the interpreter inside and let it end; return what went wrong, or an empty text."""
        command = [*self._options, "--", sys.executable, "-I", "-S", "-c", ""]
        try:
            done = subprocess.run(  # noqa: S603 (the command is ours)
                command, env=environment, capture_output=True, timeout=_TRIAL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return type(error).__name__
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return words[-1] if done.returncode else ""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` inside."""
        return [*self._options, "--info-fd", str(self.info), "--", *command]

    def pid_inside(self) -> int | None:
        """Return the number of the process that runs inside, once it runs: the child of bubblewrap's init process.

        The init process is there to die with bubblewrap, which may not signal a child that has become another user.
        """
        init = self.started.get("child-pid")
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                if f"\nPPid:\t{init}\n" in status.read_text("ascii", "replace"):
                    return int(status.parent.name)
        return None

    @cached_property
    def started(self) -> dict[str, Any]:
        """What bubblewrap says of its init process; to be asked for once the child runs."""
        os.set_blocking(self._info, False)
        with suppress(OSError, ValueError):
            said = json.loads(os.read(self._info, _INFO_BYTES))
            return said if isinstance(said, dict) else {}
        return {}

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._info)
        os.close(self.info)


def shared_namespaces(said: dict[str, Any]) -> list[str]:
    """Return the namespaces that the process inside shares with this one, as far as bubblewrap's words tell."""
    ours = {name: (Path("/proc/self/ns") / name).stat().st_ino for name in _NAMESPACES}
    return [name for name, number in ours.items() if said.get(f"{name}-namespace", number) == number]


def _separation(*, as_root: bool) -> list[str]:
    if not as_root:
        return ["--unshare-all", "--cap-drop", "ALL"]
    # Without a user namespace, in which the files of other users could not be granted.
    options = [f"--unshare-{name}" for name in ("ipc", "pid", "net", "uts", "cgroup-try")]
    capabilities = [word for name in _TO_CHANGE_USER for word in ("--cap-add", name)]
    return [*options, "--cap-drop", "ALL", *capabilities]


def _mounts(grants: Iterable[Grant]) -> list[str]:
    """Return the options for all grants, outer folders first: what is mounted later lies on top."""
    wanted = sorted({grant for grant in grants if grant.access in _MOUNTS}, key=lambda grant: grant.path.parts)
    return [word for grant in wanted for word in (_MOUNTS[grant.access], str(grant.path), str(grant.path))]


@cache
def _import_path() -> tuple[str, ...]:
    """Return the import path of an isolated interpreter, which is what the child is."""
    code = "import json, sys; print(json.dumps(sys.path))"
    told = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)  # noqa: S603
    return tuple(json.loads(told.stdout))
