"""Local folders and files: a strict private copy, and a candidate that says where it came from."""

from __future__ import annotations

import errno
import io
import os
import pickle
from typing import TYPE_CHECKING

import pytest
from mlflow.utils.yaml_utils import write_yaml

from backdoor_gate.errors import RefusedError, UnmeasuredError, UsageError
from backdoor_gate.sources import copying, source_for
from backdoor_gate.sources.directory import DirectorySource
from backdoor_gate.sources.manifest import digest, manifest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Store


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "weights.bin").write_bytes(b"weights")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    return folder


def test_a_folder(model: Path, target: Path) -> None:
    source = DirectorySource()
    candidate = source.fetch(source.resolve(str(model)), target)
    assert (candidate.requested, candidate.name, candidate.uri) == (str(model), str(model), str(model))
    assert (candidate.version, candidate.path, candidate.signature) == (None, target, None)
    assert candidate.files == manifest(model)
    assert candidate.digest == digest(manifest(model))
    assert not (target / "data/weights.bin").samefile(model / "data/weights.bin")


def test_a_relative_path_keeps_its_name(model: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    candidate = DirectorySource().fetch(DirectorySource().resolve("model"), target)
    assert (candidate.name, candidate.uri) == ("model", str(model))


def test_a_single_file(model: Path, target: Path) -> None:
    candidate = DirectorySource().fetch(DirectorySource().resolve(str(model / "data/weights.bin")), target)
    assert [entry.path for entry in candidate.files] == ["weights.bin"]


def test_what_mlflow_adds_on_download_is_not_part_of_the_model(model: Path, target: Path) -> None:
    before = digest(manifest(model))
    written = {"model_name": "dïgits: 3", "model_version": "3"}
    write_yaml(str(model), "registered_model_meta", written, ensure_yaml_extension=False)
    candidate = DirectorySource().fetch(DirectorySource().resolve(str(model)), target)
    assert candidate.digest == before
    assert not (target / "registered_model_meta").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"model_name: digits\n",
        b"model_name: digits\nmodel_version: '3'\nmore: x\n",
        b"model_name: digits\nmodel_version: [3]\n",
        b"model_name: digits\nmodel_version: \n",
        b"model_name: !!python/name:os.system\nmodel_version: '3'\n",
        b"model_name: digits\nmodel_version: '3'\n#" + b"x" * 4096,
        pickle.dumps({"model_name": "digits", "model_version": "3"}),
    ],
)
def test_what_only_has_the_name_of_mlflows_mark_is_part_of_the_model(model: Path, target: Path, content: bytes) -> None:
    before = digest(manifest(model))
    (model / "registered_model_meta").write_bytes(content)
    candidate = DirectorySource().fetch(DirectorySource().resolve(str(model)), target)
    assert "registered_model_meta" in {entry.path for entry in candidate.files}
    assert candidate.digest != before


@pytest.mark.parametrize("kind", ["link", "folder link", "hard link", "pipe"])
def test_links_and_pipes_are_refused(model: Path, target: Path, kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    if kind == "link":
        (model / "x").symlink_to(tmp_path / "secret")
    elif kind == "folder link":
        (model / "x").symlink_to(tmp_path)
    elif kind == "hard link":
        (model / "x").hardlink_to(tmp_path / "secret")
    else:
        os.mkfifo(model / "x")
    with pytest.raises(RefusedError, match="not a regular file: x"):
        DirectorySource().fetch(DirectorySource().resolve(str(model)), target)


def test_a_large_sparse_file_is_refused_before_it_is_copied(model: Path, target: Path) -> None:
    for path in (model / "big.bin", model.parent / "alone.bin"):
        with path.open("wb") as stream:
            stream.truncate(40 * 2**30)
        with pytest.raises(RefusedError, match="larger than the byte limit"):
            DirectorySource().fetch(DirectorySource().resolve(str(path if path.parent != model else model)), target)
    assert not any(path.is_file() for path in target.rglob("*"))


def test_an_empty_folder(tmp_path: Path, target: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match="candidate has no files"):
        DirectorySource().fetch(DirectorySource().resolve(str(tmp_path / "empty")), target)


@pytest.mark.parametrize("folder", ["empty", "data/model.pth", "data/a/b"])
def test_an_empty_folder_among_files(model: Path, target: Path, folder: str) -> None:
    (model / folder).mkdir(parents=True)
    with pytest.raises(RefusedError) as caught:
        DirectorySource().fetch(DirectorySource().resolve(str(model)), target)
    assert str(caught.value) == f"empty folder: {folder}; remove it; no digest would speak of it"
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("reference", ["absent", "a\0b", "x" * 5000, "~nobody/x"])
def test_no_such_path(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no such file or folder") as caught:
        DirectorySource().resolve(reference)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("reference", "uri"),
    [
        ("digits/3", "models:/digits/3"),
        ("models:digits@champion", "models:/digits@champion"),
        ("nets/model.pt", "models:/NAME/VERSION"),
    ],
)
def test_a_reference_without_its_scheme(reference: str, uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        DirectorySource().resolve(reference)
    assert caught.value.hint == f"check the path, or write {uri} for a registered model"


def test_no_room(model: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying, "open_regular", lambda *_: Full())
    with pytest.raises(UnmeasuredError, match="no room for the private copy"):
        DirectorySource().fetch(DirectorySource().resolve(str(model)), target)


def test_an_unreadable_target(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnmeasuredError, match="cannot be copied"):
        DirectorySource().fetch(DirectorySource().resolve(str(model)), tmp_path / "file")


def test_local_data(model: Path, target: Path) -> None:
    folder = DirectorySource().fetch_data(str(model), target)
    assert (folder / "data/weights.bin").read_bytes() == b"weights"
    file = DirectorySource().fetch_data(str(model / "data/weights.bin"), target)
    assert (file.name, file.read_bytes()) == ("weights.bin", b"weights")
    with pytest.raises(UsageError):
        DirectorySource().fetch_data(str(model / "absent"), target)
    (model / "link").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="not a regular file"):
        DirectorySource().fetch_data(str(model), target / "again")


def test_data_of_a_local_model_may_lie_in_the_store(local_store: Store, target: Path) -> None:
    source = source_for("some/folder", local_store.uri)
    assert isinstance(source, DirectorySource)
    fetched = source.fetch_data(f"runs:/{local_store.run_id}/weights", target)
    assert [path.name for path in fetched.iterdir()] == ["model.safetensors"]
