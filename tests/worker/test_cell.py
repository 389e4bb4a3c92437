"""The parent's side of a lock-down: folders, user, and namespaces that fall back with a reason."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.worker import bubblewrap, cell, identity
from backdoor_gate.worker.cell import Cell
from backdoor_gate.worker.schema import LockdownDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.records import Job

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
NOTHING = LockdownDocument(nonce="", threads=1, landlock=0, faults={"landlock": "ENOSYS"}, attempts={})


@pytest.fixture
def place(job: Job) -> Iterator[Cell]:
    made = Cell(job)
    yield made
    made.close()
    assert not made.scratch.parent.exists()


def test_the_order_says_all_that_the_child_needs(place: Cell, job: Job) -> None:
    order = place.order("n")
    assert (order.nonce, order.gate, order.memory, order.gpu) == ("n", os.getpid(), job.limits.memory, False)
    assert order.scratch.is_dir()
    assert not any(order.canary.is_relative_to(grant.path) for grant in order.grants)
    assert order.processes > 64


def test_folders_belong_to_the_child(place: Cell) -> None:
    order = place.order("n")
    owner = os.getuid() if order.user is None else order.user
    for path in (order.scratch, order.canary, *order.canary.iterdir()):
        assert path.stat().st_uid == owner
    assert (order.user is None) == (identity.choose() is None)


def test_a_user_that_means_nothing_here_is_not_used(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "choose", lambda: 2**32 - 1)  # no file can be given to it

    def refuse(path: Path, user: int, group: int) -> None:
        if user != os.getuid():
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(cell.os, "chown", refuse)
    made = Cell(job)
    assert made.order("n").user is None
    made.close()


def test_only_root_can_give_a_user_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert identity.choose() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(identity, "_held", lambda: 0)
    assert identity.choose() is None
    for held in (0b11100100, 0b11100010):  # what containers usually leave root, and more
        monkeypatch.setattr(identity, "_held", lambda held=held: held)
        assert identity.choose() in identity.POOL
    for held in (0b11100000, 0b11000100, 0b01100100, 0b10100100):
        monkeypatch.setattr(identity, "_held", lambda held=held: held)
        assert identity.choose() is None


def program(tmp_path: Path, code: str) -> str:
    path = tmp_path / "bwrap"
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1",
            "bwrap: setting up uid map: Permission denied",
        ),
        ("printf 'a\\033[31m\\n' >&2; exit 1", r"a\x1b[31m"),
        ("exit 3", "exit code 3"),
        ("exec sleep 5", "TimeoutExpired"),
    ],
)
def test_bubblewrap_that_does_not_work_is_left_out_with_its_reason(
    job: Job, tmp_path: Path, code: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "program", lambda: program(tmp_path, code))
    monkeypatch.setattr(bubblewrap, "_TRIAL_SECONDS", 0.2)
    before = len(list(Path("/dev/fd").iterdir()))
    made = Cell(job)
    assert made.command(["x"]) == ["x"]
    assert made.descriptors == ()
    isolation = made.assess(NOTHING, os.getpid())
    assert isolation.tier == "C"
    assert f"no bubblewrap: {reason}" in isolation.notes
    made.close()
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_bubblewrap_is_not_used_with_a_gpu(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "program", lambda: "/nonexistent/bwrap")
    monkeypatch.setattr(cell, "gpu_devices", lambda: [Path("/dev/null")])
    made = Cell(replace(job, device="auto"))
    assert made.order("n").gpu
    assert "no bubblewrap: not used with a GPU" in made.assess(NOTHING, os.getpid()).notes
    made.close()


def test_namespaces_are_compared_with_our_own() -> None:
    ours = {
        f"{name}-namespace": (Path("/proc/self/ns") / name).stat().st_ino
        for name in ("net", "pid", "ipc", "mnt", "uts")
    }
    assert bubblewrap.shared_namespaces({}) == ["net", "pid", "ipc", "mnt", "uts"]
    assert bubblewrap.shared_namespaces(ours) == ["net", "pid", "ipc", "mnt", "uts"]
    assert bubblewrap.shared_namespaces(ours | {"net-namespace": 1, "pid-namespace": 2}) == ["ipc", "mnt", "uts"]
    assert bubblewrap.shared_namespaces(dict.fromkeys(ours, 1)) == []


def test_outer_folders_are_mounted_first() -> None:
    from backdoor_gate.worker.grants import Access, Grant  # noqa: PLC0415

    given = [Grant(Path("/a/b"), Access.WRITE), Grant(Path("/a"), Access.READ), Grant(Path("/c"), Access.LIST)]
    assert bubblewrap._mounts(given) == ["--ro-bind-try", "/a", "/a", "--bind", "/a/b", "/a/b"]
