"""What the attacks are aimed at, and where hostile candidates are made."""

from __future__ import annotations

import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from locked import Target
from table import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    with ExitStack() as stack:
        # Not below pytest's own folder: a socket's path has to be short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="target-")))
        folder.chmod(0o755)
        outside = folder / "outside"
        for path in (outside, folder / "candidate"):
            path.mkdir()
        for name in ("outside/credential", "outside/log", "outside/removable", "granted"):
            (folder / name).write_text("0")
            (folder / name).chmod(0o666)
        outside.chmod(0o777)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(outside / "socket"))
        (outside / "socket").chmod(0o777)
        unix.listen(64)
        yield Target(folder, {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1]})


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench to work in; what was imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    yield Bench(tmp_path, monkeypatch)
    sys.modules.pop("tiny_net", None)
