"""How the program ends: one line for whatever went wrong, and an exit code that is zero only if a command said so."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from backdoor_gate.errors import ExitCode, GateError, OutputError
from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType
    from typing import TextIO

PROGRAM = "backdoor-gate"
DEBUG = "BACKDOOR_GATE_DEBUG"
"""Environment variable: `1` adds the traceback to an error."""


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command line and return the exit code."""
    code: int = ExitCode.INTERNAL
    try:
        with _interruptible():
            _show_any_text()
            code = _invoke(command, arguments)
    except GateError as error:
        code = complain(error)
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        code = ExitCode.UNWRITTEN
    except (Exception, SystemExit) as error:
        code = _say(
            f"internal error: {type(error).__name__}: {error}; set {DEBUG}=1 for the traceback", ExitCode.INTERNAL
        )
    finally:
        _drop_unwritten(sys.stdout)
        _drop_unwritten(sys.stderr)
    return code


def open_closed_streams() -> None:
    """Put the null device where the caller closed a standard stream.

    Without it the next file or pipe that is opened gets that number, and is read, written or closed as the stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # a child must not meet a closed stream either
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def leave(code: int) -> NoReturn:
    """End the process, without waiting for a download that hangs in a thread of MLflow's."""
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        os._exit(code)  # all output is flushed; Python would join the threads first
    sys.exit(code)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Print to standard output inside this block, and be sure at its end that it was written.

    Raises:
        OutputError: it could not be written.
        BrokenPipeError: nobody reads on.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        _drop_unwritten(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"cannot be written: {error.strerror}", where="standard output") from error


def emit(text: str) -> None:
    """Print a result; raises as `printing` does."""
    with printing():
        click.echo(text)


def complain(error: GateError) -> int:
    """Print an error, and what was found with it, a line each, and return its exit code."""
    for other in (error, *error.others):
        _say(str(other), other.exit_code)
    return error.exit_code


def _invoke(command: click.Command, arguments: Sequence[str]) -> int:
    # click's own main() would end a broken pipe and a missing file with 1, which says BLOCK.
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            code = command.invoke(context)
            return code if isinstance(code, int) else ExitCode.INTERNAL
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
        return _say(f"{' '.join(error.format_message().split()).rstrip('.')}; see '{path} --help'", ExitCode.USAGE)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first request to stop into KeyboardInterrupt, and let nothing stop the clean-up after it."""
    wanted = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, stop)) for number in wanted]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _show_any_text() -> None:
    """Let a character that the terminal's encoding lacks show as an escape instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(line: str, code: int) -> int:
    with contextlib.suppress(OSError):
        if os.environ.get(DEBUG) == "1" and sys.exc_info()[0] is not None:
            traceback.print_exc()
        click.echo(f"error: {terminal(line)}", err=True)
    return code


def _drop_unwritten(stream: TextIO) -> None:
    """Throw away what a broken stream still holds: Python would try again at exit, with an exit code of its own."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
