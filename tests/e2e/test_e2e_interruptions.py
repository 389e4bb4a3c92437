"""What happens to a scan on the way: a full disk, Ctrl-C, a registry that dies, a worker that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from e2e_parts import BUILT, LONG, MODEL, QUICK, ended, weights_of
from support import digits

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from e2e_parts import Registry, Start, WritePolicy


@pytest.fixture
def reference(registry: Registry, request: pytest.FixtureRequest) -> str:
    """A clean version of this test's own."""
    return registry.add_weights(request.node.name, weights_of(digits.trained()))


def verdict(registry: Registry, reference: str) -> str:
    name, version = reference.removeprefix("models:/").split("/")
    return registry.tags(name, version)["verdict"]


def wait_until_measuring(process: subprocess.Popen[str]) -> None:
    assert process.stderr
    line = process.stderr.readline()
    assert line.startswith("measuring "), line + process.stderr.read()


def descendants(pid: int) -> list[int]:
    """Return the processes below one, the nearest first."""
    with contextlib.suppress(OSError):
        nearest = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return nearest + [below for child in nearest for below in descendants(child)]
    return []


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_report_that_cannot_be_written(registry: Registry, reference: str, policy: WritePolicy, start: Start) -> None:
    name = "x" * 300  # nothing shows before the scan that it is too long
    process = start(reference, "--policy", policy(MODEL | BUILT, detectors=QUICK), f"--report=json={name}")
    code, out, err = ended(process)
    assert code == 5
    assert "PASS" in out
    assert f"error: {name}: file name too long; choose a shorter name\n" in err
    assert verdict(registry, reference).startswith("pending:")


def test_a_full_disk(
    registry: Registry,
    reference: str,
    policy: WritePolicy,
    start: Start,
    no_space: tuple[tuple[str, ...], Path],
) -> None:
    before, folder = no_space
    arguments = (reference, "--policy", policy(MODEL | BUILT, detectors=QUICK), f"--report=json={folder}/r.json")
    code, out, err = ended(start(*arguments, before=before))
    assert code == 5
    assert "PASS" in out
    assert f"error: {folder}/r.json: no space left on device; free some space and scan again\n" in err
    assert verdict(registry, reference).startswith("pending:")


@on_linux
def test_ctrl_c(registry: Registry, reference: str, folder: Path, policy: WritePolicy, start: Start) -> None:
    process = start(reference, "--policy", policy(MODEL | BUILT, detectors=LONG), "--report=json=r.json")
    wait_until_measuring(process)
    children = descendants(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    assert ended(process, 20) == (130, "", "error: interrupted\n")
    assert verdict(registry, reference).startswith("pending:")
    assert not (folder / "r.json").exists()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


@on_linux
def test_a_killed_worker(registry: Registry, reference: str, policy: WritePolicy, start: Start) -> None:
    process = start(reference, "--policy", policy(MODEL | BUILT, detectors=LONG))
    wait_until_measuring(process)
    os.kill(descendants(process.pid)[-1], signal.SIGKILL)
    code, out, err = ended(process, 30)
    assert (code, err) == (4, "")
    assert "INCONCLUSIVE" in out
    assert verdict(registry, reference) == "INCONCLUSIVE"


class Bridge:
    """Carries bytes between a port of its own and a server, until it breaks."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listening]
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def break_down(self) -> None:
        """End all connections, and take no more."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._server)
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def bridge(registry: Registry) -> Iterator[Bridge]:
    """A way to the registry that can be broken."""
    made = Bridge(registry.uri)
    yield made
    made.break_down()


def test_a_registry_that_dies_before_the_verdict(
    registry: Registry, reference: str, bridge: Bridge, policy: WritePolicy, start: Start
) -> None:
    process = start(reference, "--policy", policy(MODEL | BUILT, detectors=QUICK), uri=bridge.url)
    wait_until_measuring(process)
    bridge.break_down()
    code, out, err = ended(process)
    assert code == 5
    assert "PASS" in out
    assert f"error: {reference}: " in err
    assert verdict(registry, reference).startswith("pending:")
