"""What a worker may reach: no more than it needs, and nothing that is hidden in a checkout."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import backdoor_gate
from backdoor_gate.records import Architecture
from backdoor_gate.worker import grants
from backdoor_gate.worker.grants import Access, Grant

if TYPE_CHECKING:
    from backdoor_gate.records import Job


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder to import from, with things that a worker must not read."""
    for name in ("nets", ".git", ".venv"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    for name in ("tiny.py", ".env", ".git/config"):
        (tmp_path / "checkout" / name).write_text("token")
    return tmp_path / "checkout"


def test_a_job_grants_its_own_folders(job: Job, checkout: Path) -> None:
    scratch = Path("/scratch")
    job = replace(job, architecture=Architecture("tiny:build", checkout, (), ""))
    assert set(grants.of_job(job, scratch)) == {
        Grant(job.candidate, Access.READ),
        Grant(job.data or Path(), Access.READ),
        Grant(scratch, Access.WRITE),
        Grant(checkout, Access.LIST),
        Grant(checkout / "nets", Access.READ),
        Grant(checkout / "tiny.py", Access.READ),
    }


def test_a_job_of_a_graph_on_synthetic_images_grants_little(job: Job) -> None:
    bare = replace(job, architecture=None, data=None)
    assert {grant.access for grant in grants.of_job(bare, Path("/scratch"))} == {Access.READ, Access.WRITE}
    installed = replace(job, architecture=Architecture("installed:build", None, (), ""))
    assert len(grants.of_job(installed, Path("/scratch"))) == 3


def test_the_interpreter_and_its_packages_are_readable(checkout: Path) -> None:
    found = grants.of_interpreter([*sys.path, str(checkout), "relative", ""], Path("/scratch"))
    readable = {grant.path for grant in found if grant.access is Access.READ}
    assert {Path(sys.prefix), Path(sys.base_prefix), Path(backdoor_gate.__file__).parent} <= readable
    assert checkout / "tiny.py" in readable
    assert not any(part.startswith(".git") for grant in found for part in grant.path.parts)
    assert {grant.access for grant in found} <= {Access.READ, Access.LIST}
    assert Path.home() not in readable
    assert Path("/etc") not in readable
    assert Path("/proc") not in readable
    assert all(grant.path.is_absolute() for grant in found)


def test_temporary_files_in_a_checkout_are_not_readable(job: Job, checkout: Path) -> None:
    scratch = checkout / "nets" / "backdoor-gate-1" / "scratch"
    job = replace(job, architecture=Architecture("tiny:build", checkout, (), ""))
    readable = {grant.path for grant in grants.of_job(job, scratch) if grant.access is Access.READ}
    assert checkout / "tiny.py" in readable
    assert not any(scratch.is_relative_to(path) for path in readable)


def test_an_archive_to_import_from_is_readable(tmp_path: Path) -> None:
    archive = tmp_path / "packages.zip"
    archive.write_bytes(b"PK")
    assert Grant(archive, Access.READ) in grants.of_interpreter([str(archive)], Path("/scratch"))


def test_only_a_gpu_opens_devices() -> None:
    assert [grant.path for grant in grants.of_system(gpu=False) if grant.access is Access.DEVICE] == [Path("/dev/null")]
    assert Path("/sys") not in {grant.path for grant in grants.of_system(gpu=False)}
    assert Path("/sys") in {grant.path for grant in grants.of_system(gpu=True)}


def test_plain_files_are_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "GPU_DEVICES", "null")
    assert grants.gpu_devices() == [Path(os.devnull)]
    monkeypatch.setattr(grants, "GPU_DEVICES", "no-such-device*")
    assert grants.gpu_devices() == []
