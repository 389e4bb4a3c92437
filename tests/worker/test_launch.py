"""Children that hang, die, flood and forge: each ends as evidence, with no process and no file left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from worker_records import make_scan

from backdoor_gate.errors import RefusedError, WorkerError
from backdoor_gate.worker import environment, launch, process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Script

    from backdoor_gate.records import Job, Progress


@pytest.fixture(autouse=True)
def empty_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every scratch folder is made in here, and gone at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def within(job: Job, seconds: float) -> Job:
    return replace(job, limits=replace(job.limits, seconds=seconds))


def ignore(_: Progress) -> None:
    """Take no notice of progress."""


def is_alive(pid: int) -> bool:
    """Whether a process still runs after a moment's grace; a zombie does not."""
    for _ in range(50):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if not state.stdout.strip() or state.stdout.startswith("Z"):
            return False
        time.sleep(0.02)
    return True


# ------------------------------------------------------------------------------------------------------- well-behaved


def test_a_result_comes_back_with_what_the_parent_knows(job: Job, script: Script) -> None:
    heard: list[Progress] = []
    command = script(
        """
        sys.path[:0] = order["job"]["formats"][2:]
        from backdoor_gate.worker import messages
        from worker_records import make_scan
        ballast = b"x" * (100 << 20)
        progress(1), progress(2)
        messages.send_scan(channel, nonce, make_scan())
        time.sleep(0.2)
        """
    )
    job = replace(job, formats=(*job.formats, str(Path(__file__).parent)))
    scan = launch.run(job, heard.append, command=command)
    assert scan.num_classes == make_scan().num_classes
    assert (scan.runtime.isolation, scan.runtime.seed) == ("C", 7)
    assert [progress.done for progress in heard] == [1, 2]
    assert 100 << 20 < scan.peak_memory < 400 << 20


def test_peak_memory_is_the_childs_not_the_parents(tmp_path: Path) -> None:
    ballast = bytearray(500 << 20)
    ballast[:: 1 << 12] = b"x" * len(ballast[:: 1 << 12])
    child = process.Child([sys.executable, "-I", "-c", "import time; time.sleep(0.3)"], {}, tmp_path)
    child.converse(lambda _: None, time.monotonic() + 10)
    child.end()
    assert 1 << 20 < child.peak_memory < 100 << 20


def test_a_failure_comes_back_as_the_error(job: Job, script: Script) -> None:
    with pytest.raises(RefusedError, match=r"model\.pth: seen; upload again"):
        launch.run(job, ignore, command=script("result()"))


def test_a_large_job_gets_through(job: Job, script: Script) -> None:
    assert job.architecture is not None
    large = replace(job, architecture=replace(job.architecture, kwargs=(("x", "y" * 1_000_000),)))
    with pytest.raises(RefusedError):
        launch.run(large, ignore, command=script("result()"))


def test_the_child_gets_no_credential(job: Job, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "GATE_SIGNING_KEY", "PYTHONPATH")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    code = """
        failure["what"] = " ".join(sorted(os.environ))
        failure["where"] = f"{os.getcwd() == os.environ['HOME'] == os.environ['TMPDIR']}"
        failure["hint"] = " ".join(f for f in os.listdir("/proc/self/fd"))
        result()
    """
    with pytest.raises(RefusedError) as caught:
        launch.run(job, ignore, command=script(code))
    threads = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    # LC_CTYPE is the interpreter's own doing.
    allowed = {"HOME", "LANG", "LOGNAME", "OMP_WAIT_POLICY", "TMPDIR", *environment.ALLOCATOR, *threads}
    assert set(caught.value.what.split()) - {"LC_CTYPE"} == allowed
    assert caught.value.where == "True"
    # Three standard streams, the channel, and the listing's own.
    assert len(caught.value.hint.split()) == 5


def test_a_child_without_waitid_ends_too(job: Job, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "waitid")
    with pytest.raises(RefusedError, match="seen"):
        launch.run(job, ignore, command=script("result()"))


# ------------------------------------------------------------------------------------------------------ ill-behaved

DEATHS = [
    ("os.kill(os.getpid(), signal.SIGSEGV)", r"^scanner process died \(signal 11\)"),
    ("os.kill(os.getpid(), signal.SIGKILL)", r"^scanner process died \(signal 9\)"),
    ("result(); os.kill(os.getpid(), signal.SIGKILL)", r"^scanner process died \(signal 9\)"),
    ("result(); sys.exit(1)", r"^scanner process died \(exit code 1\)"),
    ("raise ImportError('no\\x1b[31m torch')", r"exit code 1\): ImportError: no\\x1b\[31m torch"),
    ("sys.exit(137)", "^out of memory"),
    ("print('std::bad_alloc'); sys.stdout.flush(); os.abort()", "^out of memory"),
    ("import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28,) * 2); bytearray(1 << 30)", "^out of memory"),
    ("sys.exit(0)", "^no result"),
    ("os.close(channel)", "^no result"),
    ("result(); result()", "^malformed result: message out of turn"),
    ("result(); os.write(channel, b'x')", "^malformed result: cut off or followed by more"),
    ("result(); os.write(channel, b'garbage')", "^malformed result: message out of turn"),
    ("os.write(channel, struct.pack('>cI', b'R', 100 << 20)); time.sleep(60)", "^malformed result: .*larger"),
    ("frame(b'R', b'{\"nonce\": NaN}'); time.sleep(60)", "^malformed result: number is not finite"),
    ("frame(b'R', b'{\"nonce\": 1, \"nonce\": 2}'); time.sleep(60)", "^malformed result: duplicate key"),
    ("frame(b'R', b'[' * 100000); time.sleep(60)", "^malformed result: nested"),
    ("result(nonce='0' * 32); time.sleep(60)", "^malformed result: wrong nonce"),
    ("failure['verdict'] = 'PASS'; result(); time.sleep(60)", r"^malformed result: unknown key 'failure.verdict'"),
    ("[progress() for _ in range(10**6)]", "^malformed result: too many progress"),
    ("[os.write(channel, bytes(60000)) for _ in range(10**6)]", "^malformed result"),
]


@pytest.mark.parametrize(("code", "message"), DEATHS)
def test_what_a_child_does_wrong_is_evidence(job: Job, script: Script, code: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerError, match=message) as caught:
        launch.run(job, ignore, command=script(code))
    assert caught.value.hint
    assert str(caught.value).isprintable()
    assert time.monotonic() - started < 10


def test_the_kernels_count_tells_a_kill_for_memory(job: Job, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([3, 4])
    monkeypatch.setattr(launch, "_kernel_kills", lambda: next(counts))
    with pytest.raises(WorkerError, match=r"^out of memory"):
        launch.run(job, ignore, command=script("os.kill(os.getpid(), signal.SIGKILL)"))


def test_a_child_that_hangs_is_killed_at_the_deadline(job: Job, script: Script) -> None:
    pids: list[int] = []
    command = script(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        progress(total=os.getpid())
        result()
        time.sleep(60)
        """
    )
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"timed out after 0\.5 s, when 1 of \d+ detectors had begun: \w+; raise"):
        launch.run(within(job, 0.5), lambda p: pids.append(p.total), command=command)
    assert time.monotonic() - started < 2
    assert len(pids) == 1
    assert not is_alive(pids[0])


def test_a_child_that_never_reads_or_writes_is_killed_at_the_deadline(job: Job, script: Script) -> None:
    assert job.architecture is not None
    large = replace(job, architecture=replace(job.architecture, kwargs=(("x", "y" * 1_000_000),)))
    with pytest.raises(WorkerError, match=r"timed out after 0\.3 s, when none of \d+ detectors had begun; raise"):
        launch.run(within(large, 0.3), ignore, command=script("import time; time.sleep(60)", prelude=""))


@pytest.mark.parametrize("ending", ["result()", "time.sleep(60)", "os._exit(3)"])
def test_no_grandchild_is_left(job: Job, script: Script, ending: str) -> None:
    pids: list[int] = []
    command = script(
        f"""
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
        progress(total=pid)
        {ending}
        """
    )
    started = time.monotonic()
    with contextlib.suppress(WorkerError, RefusedError):
        launch.run(within(job, 1.0), lambda p: pids.append(p.total), command=command)
    assert time.monotonic() - started < 3
    assert len(pids) == 1
    assert not is_alive(pids[0])


def test_a_daemon_that_keeps_writing_cannot_hold_the_parent_up(job: Job, script: Script) -> None:
    command = script(
        """
        if os.fork() == 0:
            os.setsid()
            end = time.monotonic() + 3
            while time.monotonic() < end:
                os.write(1, b"x" * 60000)
                progress()
            os._exit(0)
        time.sleep(0.2)
        """
    )
    started = time.monotonic()
    with pytest.raises(WorkerError):
        launch.run(job, ignore, command=command)
    assert time.monotonic() - started < 3


def test_a_flood_on_standard_output_neither_blocks_nor_shows(
    job: Job, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    code = r"""
        for _ in range(500):
            os.write(1, b"\x1b[2J::set-output name=x::y\n" * 4000)
            os.write(2, b"##[error]" * 10000)
        result()
    """
    with pytest.raises(RefusedError, match="seen"):
        launch.run(job, ignore, command=script(code))
    assert capfd.readouterr() == ("", "")


def test_a_flood_is_kept_only_in_part(tmp_path: Path) -> None:
    code = "import os; [os.write(1, b'x' * 60000) for _ in range(100)]; os.write(1, b'end')"
    child = process.Child([sys.executable, "-I", "-c", code], {}, tmp_path)
    assert child.converse(lambda _: None, time.monotonic() + 10)
    child.end()
    assert child.last_words.endswith("xend")
    assert len(child.last_words) <= 4096


def test_last_words_are_capped_and_safe(job: Job, script: Script) -> None:
    code = r"os.write(2, b'x' * 10**6 + b'\n::set-output\x1b[0m##[error]\xff\n\n'); sys.exit(5)"
    with pytest.raises(WorkerError) as caught:
        launch.run(job, ignore, command=script(code))
    assert caught.value.what == "scanner process died (exit code 5): \\::set-output\\x1b[0m##\\[error]�"


def test_an_interrupt_kills_the_child(job: Job, script: Script) -> None:
    pids: list[int] = []

    def interrupt(progress: Progress) -> None:
        pids.append(progress.total)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run(job, interrupt, command=script("progress(total=os.getpid()); time.sleep(60)"))
    assert not is_alive(pids[0])


def test_control_c_while_waiting_kills_the_child(job: Job, script: Script) -> None:
    pids: list[int] = []
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        launch.run(job, lambda p: pids.append(p.total), command=script("progress(total=os.getpid()); time.sleep(60)"))
    timer.join()
    assert not is_alive(pids[0])


def test_a_scratch_folder_that_resists_is_removed(job: Job, script: Script) -> None:
    code = """
        os.mkdir("a"); open("a/b", "w").close(); os.symlink("/", "a/root"); os.chmod("a", 0)
        result()
    """
    with pytest.raises(RefusedError):
        launch.run(job, ignore, command=script(code))


def test_a_program_that_is_not_there_is_evidence(job: Job) -> None:
    with pytest.raises(WorkerError, match="could not start: No such file"):
        launch.run(job, ignore, command=("/nonexistent/python",))


def test_no_descriptor_is_left_open(job: Job, script: Script) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for code in ("result()", "sys.exit(1)", "os.write(channel, b'12345678'); time.sleep(60)"):
        with contextlib.suppress(WorkerError, RefusedError):
            launch.run(job, ignore, command=script(code))
    with contextlib.suppress(WorkerError):
        launch.run(job, ignore, command=("/nonexistent/python",))
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_the_parents_side_imports_no_tensor_library_and_no_registry() -> None:
    code = (
        "import sys; import backdoor_gate.worker.launch; "
        "print({'torch', 'mlflow', 'scipy', 'matplotlib', 'backdoor_gate.scan'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
