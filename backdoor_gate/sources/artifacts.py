"""Bytes from an artifact store into a private copy: listed and bounded, then fetched file by file, never loaded."""

from __future__ import annotations

import errno
import os
import posixpath
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from backdoor_gate.errors import RefusedError, RegistryReadError
from backdoor_gate.mlflow_client import NotFoundError, redacted
from backdoor_gate.sources.copying import copy_local
from backdoor_gate.sources.manifest import MAX_BYTES, MAX_DEPTH, Budget, empty_folder, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_ON_A_HOST = {"http", "https", "mlflow-artifacts"}
"""Schemes for which MLflow sends the tracking server's credentials to whatever host the URI names."""


def download(location: str, tracking_uri: str, destination: Path) -> Path:
    """Copy everything at a resolved location; to be called inside a `conversation`.

    Args:
        location: URI of an artifact store (`mlflow-artifacts:/…`, `s3://…`, `file:…`) or a local path.
        tracking_uri: the server that `mlflow-artifacts:` belongs to.
        destination: existing empty folder. A folder's content is put into it, a file keeps its name.

    Returns:
        What now holds the copy: `destination`, or the file in it.

    Raises:
        NotFoundError: there is nothing.
        RefusedError: names, number, depth or size are not acceptable, or a folder in it is empty.
        RegistryReadError: the location is on a host that the user did not name.
    """
    if (path := _local(location)) is not None:
        if not path.exists():
            raise NotFoundError("no artifact there", where=redacted(location), hint="check that it was logged")
        return copy_local(path, destination)
    _check_host(location, tracking_uri)
    store = _store(location, tracking_uri)
    files = list(_listing(store))
    if files:
        _download_all(store, files, destination)
        return destination
    parent, name = location.rstrip("/").rsplit("/", 1)
    store = _store(parent, tracking_uri)
    files = [(info.path, _size(info)) for info in store.list_artifacts(None) if info.path == name and not info.is_dir]
    if not files:
        raise NotFoundError("no artifact there", where=redacted(location), hint="check that it was logged")
    Budget().add(*files[0])
    _download_all(store, files, destination)
    return destination / name


def has_files(location: str, tracking_uri: str) -> bool:
    """Whether a folder at a resolved location holds anything; to be called inside a `conversation`.

    Raises:
        RegistryReadError: the location is on a host that the user did not name.
    """
    if (path := _local(location)) is not None:
        return path.is_dir() and any(path.iterdir())
    _check_host(location, tracking_uri)
    return bool(_store(location, tracking_uri).list_artifacts(None))


def _local(location: str) -> Path | None:
    from mlflow.utils.file_utils import local_file_uri_to_path  # noqa: PLC0415
    from mlflow.utils.uri import is_local_uri  # noqa: PLC0415

    return Path(local_file_uri_to_path(location)) if is_local_uri(location) else None


def _store(location: str, tracking_uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415

    return get_artifact_repository(location, tracking_uri=tracking_uri)


def _check_host(location: str, tracking_uri: str) -> None:
    place, server = urlsplit(location), urlsplit(tracking_uri)
    if place.scheme in _ON_A_HOST and place.netloc not in {"", server.netloc}:
        raise RegistryReadError(
            "artifacts lie on another host than the registry",
            where=redacted(location),
            hint="let the tracking server serve its artifacts; credentials are not sent elsewhere",
        )


def _listing(store: Any) -> Iterator[tuple[str, int]]:
    budget = Budget()
    folders: list[str | None] = [None]
    while folders:
        folder = folders.pop()
        found = store.list_artifacts(folder)
        if folder and not found:
            raise empty_folder(folder)
        for info in found:
            path = str(info.path)
            if posixpath.dirname(path) != (folder or ""):
                raise RefusedError(f"listed outside its folder: {shown(path)}")
            budget.add(path, _size(info))
            if not info.is_dir:
                yield path, _size(info)
            elif path.count("/") + 1 >= MAX_DEPTH:
                raise RefusedError("path too deep", where=shown(path))
            else:
                folders.append(path)


def _size(info: Any) -> int:
    return max(int(info.file_size or 0), 0)


def _download_all(store: Any, files: list[tuple[str, int]], destination: Path) -> None:
    left = MAX_BYTES
    for path, _ in files:
        with _ceiling(left, path):
            store.download_artifacts(path, dst_path=str(destination))
        left -= (destination / path).lstat().st_size


@contextmanager
def _ceiling(limit: int, path: str) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes: a server may send more than it listed, without end."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows has no such limit; the manifest's own still holds after the download
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bounds = [bound for bound in (soft, max(limit, 1)) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(bounds), hard))
    try:
        yield
    except Exception as error:
        if os.strerror(errno.EFBIG) in str(error):
            raise RefusedError(f"larger than the byte limit of {MAX_BYTES} bytes", where=shown(path)) from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
