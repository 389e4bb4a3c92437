"""Registries that are away, broken or hostile: one clear line, in seconds, and no credential for a stranger."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import pytest

from backdoor_gate.candidate_facts import Reference
from backdoor_gate.errors import RefusedError, RegistryReadError, UsageError
from backdoor_gate.sources import artifacts, manifest
from backdoor_gate.sources.mlflow import MlflowSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS = 64 * 2**20


class _Registry(BaseHTTPRequestHandler):
    """A registry with one version of one model, whose artifacts lie where `location` says. Subclasses misbehave."""

    location: ClassVar[str] = "mlflow-artifacts:/models/1"
    listing: ClassVar[list[dict[str, object]]] = [{"path": "weights.bin", "is_dir": False, "file_size": 4}]
    seen: ClassVar[list[tuple[str, str | None]]]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.seen.append((path, self.headers.get("Authorization")))
        if path == "/health":
            self.answer(200, b"OK")
        elif path.endswith("/model-versions/get"):
            self.answer_json({"model_version": {"name": "digits", "version": "1", "status": "READY"}})
        elif path.endswith("/registered-models/get"):
            self.answer_json({"registered_model": {"name": "digits"}})
        elif path.endswith("/model-versions/get-download-uri"):
            self.answer_json({"artifact_uri": self.location})
        elif path.endswith("/mlflow-artifacts/artifacts"):
            self.answer_json({"files": self.listing})
        else:
            self.send_file()

    def send_file(self) -> None:
        self.answer(200, b"data")

    def answer_json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class _Garbage(_Registry):
    def do_GET(self) -> None:
        self.answer(200, b"<html>Sign in</html>", Content_Type="text/html")


class _Broken(_Registry):
    def do_GET(self) -> None:
        self.answer(503, b"no", Retry_After="3600")


class _Forbidding(_Registry):
    def do_GET(self) -> None:
        self.answer(403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}')


class _Redirecting(_Registry):
    target: ClassVar[str]

    def do_GET(self) -> None:
        self.answer(302, b"", Location=f"{self.target}{self.path}")


class _Endless(_Registry):
    def send_file(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(ENDLESS // 2**16):
                self.wfile.write(bytes(2**16))
        except OSError:
            pass


@contextmanager
def serving(handler: type[_Registry]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Serve on a free port; yields the URL and the list of what was asked, with the credentials that came along."""
    seen: list[tuple[str, str | None]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"seen": seen}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def complaint(url: str) -> RegistryReadError:
    started = time.monotonic()
    with pytest.raises(RegistryReadError) as caught:
        MlflowSource(url).resolve("models:/digits/1")
    assert time.monotonic() - started < 15
    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def fetch_from(handler: type[_Registry], folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    with serving(handler) as (url, _):
        source = MlflowSource(url)
        source.fetch(source.resolve("models:/digits/1"), folder)
    return (folder / "weights.bin").read_bytes()


def test_the_stand_in_works(tmp_path: Path) -> None:
    assert fetch_from(_Registry, tmp_path / "copy") == b"data"


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "unreachable" in complaint(f"http://user:hunter2@127.0.0.1:{port}").what
    assert "hunter2" not in str(complaint(f"http://user:hunter2@127.0.0.1:{port}"))


def test_somebody_listens_but_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backdoor_gate.mlflow_client._PROBE_SECONDS", (0.5, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "unreachable" in complaint(f"http://127.0.0.1:{silent.getsockname()[1]}").what


@pytest.mark.parametrize(
    ("handler", "says"), [(_Garbage, "could not be read"), (_Broken, "503"), (_Forbidding, "denied")]
)
def test_bad_answers(handler: type[_Registry], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(handler) as (url, _):
        assert says in str(complaint(url))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "uri", ["bogus://x", "sqlite:////nowhere/at/all.db", "file:///nowhere/at/all", "postgresql://h/x"]
)
def test_no_such_store(uri: str) -> None:
    complaint(uri)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not SQLite")
    assert "not an SQLite database" in complaint(f"sqlite:///{tmp_path / 'x.db'}").what


@pytest.mark.parametrize("uri", [None, "", " \n"])
def test_without_a_tracking_uri_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if uri is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no MLflow tracking URI"):
        MlflowSource(None).resolve("models:/digits/1")
    assert list(tmp_path.iterdir()) == []


def test_no_token_for_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    with serving(_Registry) as (foreign, asked):
        redirecting = type("To", (_Redirecting,), {"target": foreign})
        with serving(redirecting) as (url, _):
            complaint(url)
        place = foreign.removeprefix("http:")
        for number, location in enumerate(
            [f"mlflow-artifacts:{place}/models/1", f"{foreign}/api/2.0/mlflow-artifacts/artifacts/x"]
        ):
            folder = tmp_path / str(number)
            with pytest.raises(RegistryReadError, match="another host"):
                fetch_from(type("Elsewhere", (_Registry,), {"location": location}), folder)
        assert asked == []


def test_a_version_that_leads_to_itself() -> None:
    with serving(type("Loop", (_Registry,), {"location": "models:/digits/1"})) as (url, _):
        assert "from model to model" in complaint(url).what


def test_an_endless_download_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAX_BYTES", 2**20)
    with pytest.raises(RefusedError, match="larger than the byte limit"):
        fetch_from(_Endless, tmp_path / "copy")
    assert sum(path.stat().st_size for path in (tmp_path / "copy").rglob("*")) <= 2**20


def test_the_limit_holds_for_all_files_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAX_BYTES", 6)
    two = [{"path": name, "is_dir": False, "file_size": 1} for name in ("a.bin", "weights.bin")]
    with pytest.raises(RefusedError, match="larger than the byte limit"):
        fetch_from(type("Two", (_Registry,), {"listing": two}), tmp_path / "copy")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"path": "weights.bin", "is_dir": False, "file_size": 10**12}, "larger than the byte limit"),
        ({"path": "rtl\u202etxt", "is_dir": False, "file_size": 1}, "file name not allowed"),
        ({"path": "::error::x", "is_dir": False, "file_size": 1}, "file name not allowed"),
        ({"path": "n" * 255, "is_dir": False, "file_size": 1}, "file name not allowed"),
        ({"path": "deeper", "is_dir": True}, "path too deep"),
    ],
)
def test_a_bad_listing_is_refused_before_a_byte_is_fetched(entry: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=says):
        fetch_from(type("Bad", (_Registry,), {"listing": [entry]}), tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_listing_that_climbs_out_fetches_nothing(tmp_path: Path) -> None:
    entry = {"path": "../../outside", "is_dir": False, "file_size": 4}
    with pytest.raises((RefusedError, RegistryReadError)):
        fetch_from(type("Climbing", (_Registry,), {"listing": [entry]}), tmp_path / "copy")
    assert [path.name for path in tmp_path.rglob("*")] == ["copy"]


class _Hollow(_Registry):
    """Lists an empty folder beside the file."""

    def answer_json(self, value: object) -> None:
        if isinstance(value, dict) and "files" in value:
            asked = "path=models%2F1%2Fmodel.pth" in self.path
            value = {"files": [] if asked else [*self.listing, {"path": "model.pth", "is_dir": True}]}
        super().answer_json(value)


def test_a_listed_folder_that_is_empty(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"empty folder: model\.pth; remove it"):
        fetch_from(_Hollow, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_file_that_is_listed_twice(tmp_path: Path) -> None:
    twice = [{"path": name, "is_dir": False, "file_size": 4} for name in ("weights.bin", "weights.bi%6e")]
    with pytest.raises(RefusedError, match="file name not allowed"):
        fetch_from(type("Twice", (_Registry,), {"listing": twice}), tmp_path / "copy")


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_FILES", 3)
    many = [{"path": f"{number}.bin", "is_dir": False, "file_size": 1} for number in range(4)]
    with pytest.raises(RefusedError, match="more than 3 files"):
        fetch_from(type("Many", (_Registry,), {"listing": many}), tmp_path / "copy")


def test_an_artifact_store_without_a_plugin(tmp_path: Path) -> None:
    with serving(_Registry) as (url, _), pytest.raises(RegistryReadError):
        MlflowSource(url).fetch(Reference("r", "models:/digits/1", "digits", "1", "unknown-scheme://x/y"), tmp_path)
