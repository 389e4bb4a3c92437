"""Whatever happens inside a command: one line, the contract's exit code, and never a zero that nobody meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from backdoor_gate.cli import exits
from backdoor_gate.cli.exits import emit, run
from backdoor_gate.errors import (
    NotVerifiedError,
    OutputError,
    RefusedError,
    RegistryReadError,
    UsageError,
    WorkerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FOR_TRACEBACK = "; set BACKDOOR_GATE_DEBUG=1 for the traceback"
PROGRAM = "from backdoor_gate.cli import main; main()"


def ending(body: Callable[[], object], *arguments: str) -> int:
    @click.command()
    @click.option("--number", type=int)
    def command(number: int | None) -> object:
        return body()

    return run(command, arguments)


def raising(error: BaseException) -> Callable[[], object]:
    def body() -> object:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("bad", where="x", hint="mend it"), 2, "error: x: bad; mend it"),
        (RefusedError("bad"), 3, "error: bad"),
        (RegistryReadError("bad"), 4, "error: bad"),
        (WorkerError("bad"), 4, "error: bad"),
        (OutputError("bad"), 5, "error: bad"),
        (NotVerifiedError("bad"), 6, "error: bad"),
        (RefusedError("a\x1b[31m\nb ::error::c"), 3, r"error: a\x1b[31m\x0ab :\x3aerror:\x3ac"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (click.Abort(), 130, "error: interrupted"),
        (click.UsageError("No such thing."), 2, "error: No such thing; see 'backdoor-gate --help'"),
        (click.FileError("f", "gone"), 2, "error: Could not open file 'f': gone; see 'backdoor-gate --help'"),
        (BrokenPipeError(), 5, ""),
        (
            OSError(28, "No space left on device"),
            70,
            "error: internal error: OSError: [Errno 28] No space left on device" + FOR_TRACEBACK,
        ),
        (
            ValueError("odd\nvalue"),
            70,
            r"error: internal error: ValueError: odd\x0avalue" + FOR_TRACEBACK,
        ),
        (SystemExit(0), 70, "error: internal error: SystemExit: 0" + FOR_TRACEBACK),
        (MemoryError(), 70, "error: internal error: MemoryError: " + FOR_TRACEBACK),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_code_and_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(raising(error)) == code
    captured = capsys.readouterr()
    assert captured.err.rstrip("\n") == line
    assert captured.out == ""


def test_a_traceback_only_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(exits.DEBUG, "1")
    assert ending(raising(ValueError("odd"))) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("result", "code"), [(0, 0), (4, 4), (None, 70), ("0", 70)])
def test_zero_only_where_a_command_says_so(result: object, code: int) -> None:
    assert ending(lambda: result) == code


def test_bad_arguments_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(lambda: 0, "--number", "x") == 2
    expected = "error: Invalid value for '--number': 'x' is not a valid integer; see 'backdoor-gate --help'\n"
    assert capsys.readouterr().err == expected
    assert ending(lambda: 0, "--nonesuch") == 2
    assert ending(lambda: 1, "--help") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_is_heard_once(number: int) -> None:
    cleaned = []

    def body() -> object:
        try:
            signal.raise_signal(number)
            time.sleep(5)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            cleaned.append(True)
        return 0

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert ending(body) == 130
    assert cleaned == [True]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert ending(lambda: signal.raise_signal(signal.SIGINT) or 0) == 0
    finally:
        signal.signal(signal.SIGINT, before)


UNWRITTEN = "standard output: cannot be written: No space left on device"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["policy", "schema"], 5, UNWRITTEN),
        (["--help"], 70, "internal error: OSError: [Errno 28] No space left on device" + FOR_TRACEBACK),
    ],
)
def test_a_result_that_cannot_be_written_is_no_success(
    arguments: list[str], code: int, line: str, unbuffered: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=environment
        )
    assert (done.returncode, done.stderr) == (code, f"error: {line}\n")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", PROGRAM, "policy", "schema"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (5, "")


CLOSINGS = ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSINGS)
@pytest.mark.parametrize(
    ("arguments", "code"), [(["policy", "schema"], 0), (["--nonesuch"], 2), (["scan", "x", "--policy", "/absent"], 2)]
)
def test_a_closed_stream_changes_no_exit_code(arguments: list[str], code: int, closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (code == 0 and ">&-" not in closed.replace("2>&-", ""))
    assert bool(done.stderr) == (code != 0 and "2>&-" not in closed)


@pytest.mark.parametrize("closed", CLOSINGS)
def test_no_file_takes_the_number_of_a_closed_stream(closed: str) -> None:
    program = """
import os, subprocess, sys
from backdoor_gate.cli.exits import open_closed_streams
open_closed_streams()
sys.stdin.read()
print("seen", flush=True)
print("seen", file=sys.stderr, flush=True)
child = subprocess.run([sys.executable, "-c", "import os; [os.fstat(number) for number in range(3)]"])
sys.exit(7 if os.open(os.devnull, os.O_RDONLY) > 2 and child.returncode == 0 else 8)
"""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr


def test_emit_prints(capsys: pytest.CaptureFixture[str]) -> None:
    emit("text")
    assert capsys.readouterr().out == "text\n"
