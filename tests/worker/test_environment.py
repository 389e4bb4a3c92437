"""What the child is told of the machine, and nothing more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.worker import environment

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_no_group_no_quota(tmp_path: Path) -> None:
    assert environment.cgroup_quota("", tmp_path) == float("inf")
    assert environment.cgroup_quota("0::/a/b\n", tmp_path) == float("inf")


def test_the_tightest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    write(tmp_path / "a/b/cpu.max", "max 100000\n")
    write(tmp_path / "a/cpu.max", "150000 100000\n")
    write(tmp_path / "cpu.max", "400000 100000\n")
    assert environment.cgroup_quota("0::/a/b\n", tmp_path) == 1.5


def test_a_container_sees_its_quota_at_the_mount(tmp_path: Path) -> None:
    write(tmp_path / "cpu.max", "200000 100000\n")
    assert environment.cgroup_quota("0::/../../elsewhere\n", tmp_path) == 2


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    write(tmp_path / "cpu/job/cpu.cfs_quota_us", "50000\n")
    write(tmp_path / "cpu/job/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "cpu/cpu.cfs_period_us", "100000\n")
    membership = "9:name=systemd:/\n4:cpu,cpuacct:/job\n3:memory:/x\n"
    assert environment.cgroup_quota(membership, tmp_path) == 0.5


def test_threads_are_the_cores_that_are_there(tmp_path: Path) -> None:
    cores = environment.available_cores()
    assert 1 <= cores <= (os.cpu_count() or 1)
    variables = environment.scrubbed(tmp_path, "cpu")
    assert {variables[name] for name in environment.THREAD_COUNTS} == {str(cores)}


@pytest.mark.parametrize(("device", "shown"), [("cpu", False), ("cuda", True), ("auto", True)])
def test_only_a_cuda_job_learns_of_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, *, shown: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert ("CUDA_VISIBLE_DEVICES" in environment.scrubbed(tmp_path, device)) is shown
