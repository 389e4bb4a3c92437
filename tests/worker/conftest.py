"""Misbehaving children for the worker's tests."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Protocol

import pytest
from worker_records import PRELUDE, make_job

from backdoor_gate.worker import bubblewrap

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.records import Job


class Script(Protocol):
    """Writes a child's code to a file and returns the command that runs it."""

    def __call__(self, code: str, prelude: str = PRELUDE) -> tuple[str, ...]:
        """Return the command that runs `prelude` and then `code`."""
        ...


@pytest.fixture(autouse=True)
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed: the children here are scripts of the tests, and it takes its time."""
    monkeypatch.setattr(bubblewrap, "program", lambda: None)


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
