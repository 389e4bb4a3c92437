"""What several parts' tests share: an MLflow store in a file, a real MLflow server, the program, the goldens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

START_SECONDS = 90


@pytest.fixture(scope="session", autouse=True)
def _keys_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the signing key that the first publish makes out of the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data_home")))
        yield


@pytest.fixture(scope="session")
def sqlite_registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an empty SQLite store; runs of its default experiment keep their artifacts in the same folder."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("sqlite_registry")
    uri = f"sqlite:///{folder / 'registry.db'}"
    SqlAlchemyStore(uri, str(folder / "artifacts"))
    return uri


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start real MLflow servers on 127.0.0.1 that keep their data in SQLite and serve their artifacts.

    Called with the words of options and the variables of its environment; returns the URL.
    """
    with contextlib.ExitStack() as running:

        def start(*options: str, **variables: str) -> str:
            folder = tmp_path_factory.mktemp("mlflow_server")
            return running.enter_context(_server(folder, options, variables))

        yield start


@pytest.fixture(scope="session")
def mlflow_server(serve: Callable[..., str]) -> str:
    """URL of a plain MLflow server."""
    return serve()


@contextlib.contextmanager
def _server(folder: Path, options: tuple[str, ...], variables: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | variables
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the program as its command does; returns exit code, standard output and standard error."""
    from backdoor_gate.cli import exits  # noqa: PLC0415
    from backdoor_gate.cli.root import root  # noqa: PLC0415

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exits.run(root, arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def pytest_configure() -> None:
    """Hear Ctrl-C, and let children hear it: a shell ignores it for what it starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew-goldens",
        action="store_true",
        default=bool(os.environ.get("UPDATE_GOLDENS")),
        help="write the expected outputs in tests/goldens anew; read the diff before you commit it",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name in tests/goldens, or write it there with --renew-goldens."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "goldens" / name
        if request.config.getoption("--renew-goldens"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path.name}: run pytest --renew-goldens"
        assert text == path.read_text(encoding="utf-8")

    return check
