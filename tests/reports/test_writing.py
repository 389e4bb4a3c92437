"""Reports are written whole or not at all, and every failure to write says where and what next."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from samples import VERDICTS, blocked, passed

from backdoor_gate.errors import OutputError
from backdoor_gate.reports import Format, files, write

FILES = [found for found in Format if found is not Format.TRIGGERS]


@pytest.mark.parametrize("report_format", FILES)
@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_format_is_written_below_new_folders(report_format: Format, verdict: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "er" / "report"
    write(VERDICTS[verdict](), report_format, path)
    passes_silently = (report_format, verdict) == (Format.ANNOTATIONS, "pass")
    assert passes_silently or verdict.upper() in path.read_text(encoding="utf-8")
    assert [found.name for found in path.parent.iterdir()] == ["report"]


def test_triggers_go_into_a_folder(tmp_path: Path) -> None:
    write(blocked(), Format.TRIGGERS, tmp_path / "triggers")
    assert len(list((tmp_path / "triggers").glob("trigger-*.png"))) == 2
    write(passed(), Format.TRIGGERS, tmp_path / "none")
    assert list((tmp_path / "none").iterdir()) == []


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("x" * 10**6)
    write(passed(), Format.JSON, path)
    assert path.read_text().startswith("{")


def test_whoever_reads_the_older_report_reads_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("older")
    with path.open() as reader:
        write(passed(), Format.JSON, path)
        assert reader.read() == "older"


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write(passed(), Format.JSON, tmp_path / "report")
    (tmp_path / "ordinary").write_text("")
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("report_format", FILES)
def test_a_folder_at_the_path(report_format: Format, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write(passed(), report_format, tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; name a file"
    assert caught.value.exit_code == 5


def test_a_pipe_at_the_path_is_neither_replaced_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="is not a regular file; name a file"):
        write(passed(), Format.JSON, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("report_format", Format)
def test_a_file_where_a_folder_is_needed(report_format: Format, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        write(passed(), report_format, tmp_path / "file" / "report")


@pytest.mark.parametrize("report_format", Format)
@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "x" * 300], ids=["nul", "surrogate", "long"])
def test_names_that_no_file_can_have(report_format: Format, name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write(passed(), report_format, tmp_path / name)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_older_report_and_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("older")
    older = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, older[1]))
    try:
        with pytest.raises(OutputError) as caught:
            write(passed(), Format.JSON, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, older)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.where == str(path)
    assert path.read_text() == "older"
    assert [found.name for found in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="name a folder that can be written"):
        write(passed(), Format.JSON, tmp_path / "report.json")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root can write to")
def test_a_folder_nobody_can_write_to() -> None:
    with pytest.raises(OutputError):
        write(passed(), Format.JSON, Path("/proc/self/report.json"))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on device; free some space and scan again"),
        (errno.EROFS, "read-only file system; name a folder that can be written"),
        (errno.EACCES, "permission denied; name a folder that can be written"),
    ],
)
def test_what_the_system_says_becomes_one_line(number: int, message: str) -> None:
    error = files.unwritable(Path("out/report.json"), OSError(number, os.strerror(number)))
    assert str(error) == f"out/report.json: {message}"


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, backdoor_gate.reports.text; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"rich", "PIL", "junit_xml", "numpy", "matplotlib", "torch", "mlflow"}
