"""Reading a file that the user named: each way to fail is one line that says what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from backdoor_gate.bounded_files import read_bounded
from backdoor_gate.errors import UsageError


def complaint(path: Path, limit: int = 1024, unfit: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read_bounded(path, limit, hint="make one", unfit=unfit)
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 1024])
def test_reads_up_to_the_limit(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    assert read_bounded(path, 1024, hint="") == b"x" * size


@pytest.mark.parametrize(("limit", "spoken"), [(1024, "1 KiB"), (64 << 10, "64 KiB"), (1 << 20, "1 MiB")])
def test_nothing_is_cut(limit: int, spoken: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * (limit + 1))
    assert complaint(path, limit) == f"{path}: larger than {spoken}; make one"
    assert complaint(path, limit, "name another") == f"{path}: larger than {spoken}; name another"


def test_an_absent_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert complaint(path, unfit="name another") == f"{path}: cannot be read: No such file or directory; make one"


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"{tmp_path}: not a regular file; make one"
    assert complaint(tmp_path, unfit="name another") == f"{tmp_path}: not a regular file; name another"


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes among files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert complaint(path) == f"{path}: not a regular file; make one"


def test_a_name_that_no_file_can_have() -> None:
    assert "cannot be read: embedded null byte; make one" in complaint(Path("a\0b"))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert complaint(path) == f"{path}: cannot be read: Permission denied; make one"


def test_an_error_without_words_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk went away")

    monkeypatch.setattr(Path, "open", broken)
    assert complaint(tmp_path / "a") == f"{tmp_path / 'a'}: cannot be read: the disk went away; make one"
