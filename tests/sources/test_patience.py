"""A registry that sends a byte at a time is given up, and the program ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from backdoor_gate import patience
from backdoor_gate.errors import RegistryReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DRIPS = 150


class Dripping(BaseHTTPRequestHandler):
    """Promises a long answer and sends it slowly, for half a minute at most."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(DRIPS))
        self.end_headers()
        try:
            for _ in range(DRIPS):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.2)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def dripping() -> Iterator[str]:
    """Serve on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_dripping_registry_is_given_up(dripping: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nmodel: {input: {shape: [1, 8, 8]}}\n")
    command = "import sys; from backdoor_gate.cli import main; main(sys.argv[1:])"
    arguments = ["scan", "models:/digits/1", "--policy", str(policy), "--tracking-uri", dripping, "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
        env={**os.environ, patience.VARIABLE: "1"},
        cwd=tmp_path,
    )
    assert done.returncode == 4
    assert "no complete answer within 1 s" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_alarm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with patience.patience("here"), patience.patience("inside"):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= patience.DEFAULT
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_wait_that_is_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, "0.05")
    with pytest.raises(RegistryReadError, match=r"here: no complete answer within 0.05 s"), patience.patience("here"):
        time.sleep(5)


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "nan", "inf", "1e300"])
def test_nonsense_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(patience.VARIABLE, text)
    assert patience.limit() == patience.DEFAULT
