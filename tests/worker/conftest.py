"""Misbehaving children for the worker's tests."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Protocol

import pytest
from worker_records import make_job

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.records import Job

PRELUDE = """
import json, os, signal, struct, sys, time
channel = int(sys.argv[-1])
order = json.loads(sys.stdin.buffer.read())
nonce = order["nonce"]
failure = {"kind": "refused", "what": "seen", "where": "model.pth", "hint": "upload again"}
def frame(kind, payload):
    data = struct.pack(">cI", kind, len(payload)) + payload
    while data:
        data = data[os.write(channel, data):]
def result(nonce=nonce, scan=None, failure=failure):
    frame(b"R", json.dumps({"nonce": nonce, "scan": scan, "failure": failure}).encode())
def progress(done=1, total=10):
    document = {"nonce": nonce, "detector": 0, "done": done, "total": total, "classes": [0, 1], "seconds_left": None}
    frame(b"P", json.dumps(document).encode())
"""


class Script(Protocol):
    """Writes a child's code to a file and returns the command that runs it."""

    def __call__(self, code: str, prelude: str = PRELUDE) -> tuple[str, ...]:
        """Return the command that runs `prelude` and then `code`."""
        ...


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def write(code: str, prelude: str = PRELUDE) -> tuple[str, ...]:
        path = tmp_path / "child.py"
        path.write_text(prelude + textwrap.dedent(code))
        return (sys.executable, "-I", str(path))

    return write


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path)
