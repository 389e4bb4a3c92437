"""One child process with its pipes: started in a bare environment, listened to until it ends, killed with its group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CHUNK = 1 << 16
_PIPE_CAPACITY = 1 << 20
_TAIL_BYTES = 4096
_POLL_SECONDS = 0.05


class Child:
    """A process that reads messages on its standard input and answers on a pipe of its own.

    Its standard output and error go to a third pipe, of which only the end is kept.

    Args:
        command: program and arguments; the number of the answer's file descriptor is appended.
        environment: all of its variables.
        folder: its working folder.
        descriptors: file descriptors that it inherits besides.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._message = bytearray()
        self._is_last = False
        self._tail = b""
        self._resident = 0
        self._maxrss = 0
        self._channel, answer = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 (the command is ours)
                [*command, str(answer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(answer, *descriptors),
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            os.close(self._channel)
            raise
        finally:
            os.close(answer)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._input, self._output, self._channel):
            os.set_blocking(pipe, False)
        self.pid = self._process.pid
        """Whose memory is watched; another's where the process that was started is only around the one that works."""

    def send(self, message: bytes, *, last: bool = False) -> None:
        """Put a message into the queue of what the process will read.

        Args:
            message: the bytes.
            last: close its standard input behind them.
        """
        self._message += message
        self._is_last = last

    @property
    def exit_code(self) -> int:
        """How it ended, once `end` was called; -n after signal n."""
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def last_words(self) -> str:
        """The end of what it printed; raw, so not to be shown as it is."""
        return self._tail.decode(errors="replace")

    @property
    def peak_memory(self) -> int:
        """Peak resident set in bytes, once `end` was called.

        Linux counts the parent's own peak into the exit figure of a process it starts, so the kernel's last figure
        from while the process ran (at most 50 ms before its end) goes first.
        """
        unit = 1 if sys.platform == "darwin" else 1024
        return (self._resident or self._maxrss) * unit

    def converse(self, hear: Callable[[bytes], None], deadline: float) -> bool:
        """Send what is queued and pass on the answers until the process has ended.

        Args:
            hear: called with each piece of an answer; what it raises comes through. It may queue another message.
            deadline: on the clock of `time.monotonic`.

        Returns:
            False if the deadline passed first; then the process is still running.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ, self._read_output)
            selector.register(self._channel, selectors.EVENT_READ, lambda: self._read_channel(hear))
            while not self._has_ended():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if self._message and self._input not in selector.get_map():
                    selector.register(self._input, selectors.EVENT_WRITE, self._write)
                for key, _ in selector.select(min(left, _POLL_SECONDS)):
                    if not key.data():
                        selector.unregister(key.fd)
                self._watch_memory()
        self._kill_group()
        self._read_output(_PIPE_CAPACITY)
        with contextlib.suppress(BlockingIOError):
            while self._read_channel(hear):
                pass
        return True

    def end(self) -> None:
        """Kill the process and all of its group, take its exit code, and close the pipes."""
        self._kill_group()
        self._reap(0)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        os.close(self._channel)

    def _has_ended(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._reap(os.WNOHANG)
        # It stays a zombie, so that its group's number cannot be another's before the group is killed.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _reap(self, options: int) -> bool:
        """Take the exit code and the peak memory of the process if it has ended; return whether it has."""
        if self._process.returncode is None:
            pid, status, usage = os.wait4(self._process.pid, options)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._maxrss = usage.ru_maxrss
        return self._process.returncode is not None

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _watch_memory(self) -> None:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self._resident = int(line.split()[1])

    def _write(self) -> bool:
        """Write what the pipe takes; False when there is nothing left to write or nobody to read it."""
        try:
            del self._message[: os.write(self._input, self._message[:_CHUNK])]
        except BrokenPipeError:
            self._message.clear()
        if not self._message and self._is_last:
            assert self._process.stdin is not None
            self._process.stdin.close()
        return bool(self._message)

    def _read_output(self, size: int = _CHUNK) -> bool:
        """Keep the end of what was printed; False at the end of it."""
        try:
            data = os.read(self._output, size)
        except BlockingIOError:
            return True
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        return bool(data)

    def _read_channel(self, hear: Callable[[bytes], None]) -> bool:
        """Pass on a piece of the answer; False at the end of it."""
        data = os.read(self._channel, _CHUNK)
        if data:
            hear(data)
        return bool(data)
