"""The child's environment variables, built from nothing: no credential can be left in what was never copied."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

ALLOCATOR = {
    # glibc reserves 64 MiB of address space per arena and opens one per thread, which would eat the memory limit.
    "MALLOC_ARENA_MAX": "2",
    # It maps every tensor above 32 MiB afresh, a page at a time: 2 to 4 times the time at 112 to 224 pixels, measured.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
}
"""How the C library's allocator is to work; others ignore it."""


def scrubbed(scratch: Path, device: str) -> dict[str, str]:
    """Return all the variables a child gets.

    Args:
        scratch: its home and temporary folder.
        device: the job's; unless it is `cpu`, the choice of CUDA devices is passed on.
    """
    variables = {"LANG": "C.UTF-8", "HOME": str(scratch), "TMPDIR": str(scratch)}
    # A worker's user has no account, in which libraries look for a name of their cache folders.
    variables["LOGNAME"] = "worker"
    variables |= dict.fromkeys(THREAD_COUNTS, str(available_cores()))
    variables |= ALLOCATOR
    # A thread that spins while it waits for another starves it on a busy machine: 5 to 20 times the time, measured.
    variables["OMP_WAIT_POLICY"] = "PASSIVE"
    if device != "cpu" and "CUDA_VISIBLE_DEVICES" in os.environ:
        variables["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
    return variables


def available_cores() -> int:
    """Return how many cores this process may keep busy: its affinity, and its cgroup's quota rounded down."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    membership = Path("/proc/self/cgroup")
    quota = cgroup_quota(membership.read_text() if membership.exists() else "", Path("/sys/fs/cgroup"))
    return max(1, int(min(len(os.sched_getaffinity(0)), quota)))


def cgroup_quota(membership: str, root: Path) -> float:
    """Return the tightest CPU quota on the way from a process's control group to the root, in cores.

    Args:
        membership: text of `/proc/<pid>/cgroup`.
        root: where the cgroup file systems are mounted.
    """
    quotas = [float("inf")]
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        for group in _upwards(top, path):
            quotas += _quota(group)
    return min(quotas)


def _upwards(top: Path, path: str) -> Iterator[Path]:
    """Yield the group's folder and its ancestors, the mount's top last; a container may see only the top."""
    group = top / path.strip("/")
    yield group
    while group != top:
        group = group.parent
        yield group


def _quota(group: Path) -> list[float]:
    """Return the quota of one group in cores, as a list that is empty where there is none."""
    try:
        if (unified := group / "cpu.max").exists():
            quota, period = unified.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return [int(quota) / int(period)] if int(quota) > 0 else []
    except (OSError, ValueError):
        return []
