"""What a worker may reach in the file system: a list of paths, each with a kind of access. Everything else is closed.

The same list feeds Landlock's rules inside the worker and bubblewrap's mounts around it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import backdoor_gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backdoor_gate.records import Job

GPU_DEVICES = "nvidia*"
"""Pattern of the device files of GPUs, below `/dev`."""

_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/sys/devices/system",
)
_KERNEL = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/sys/vm",
    "/sys/kernel/mm/transparent_hugepage",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
)
_GPU_KERNEL = ("/sys", "/proc/driver", "/proc/devices", "/proc/modules", "/proc/sys/kernel")


class Access(StrEnum):
    """Kinds of access, of a file or of a folder with all that is in it. None of them runs a program."""

    LIST = "list"
    """Names, not contents."""
    READ = "read"
    WRITE = "write"
    """Read, write, make and remove files and folders; no links, devices, sockets or pipes."""
    DEVICE = "device"
    """Read, write and control a device."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A path and what may be done there."""

    path: Path
    access: Access


def of_job(job: Job, scratch: Path) -> tuple[Grant, ...]:
    """Return what this job needs: the candidate, the clean data, the trusted architecture, and a scratch folder."""
    found = [Grant(job.candidate, Access.READ), Grant(scratch, Access.WRITE)]
    if job.data:
        found.append(Grant(job.data, Access.READ))
    if job.architecture and job.architecture.search_path:
        found += _importable(job.architecture.search_path, scratch)
    return tuple(found)


def of_interpreter(import_path: Iterable[str], scratch: Path) -> tuple[Grant, ...]:
    """Return what every worker needs to run: the interpreter, the installed packages, and the system's libraries.

    Args:
        import_path: of the worker: `sys.path` of an isolated interpreter.
        scratch: of the worker.
    """
    roots = [Path(root) for root in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, *_SYSTEM))]
    found = [Grant(root, Access.READ) for root in (*roots, Path(backdoor_gate.__file__).parent)]
    for entry in map(Path, import_path):
        if entry.is_absolute() and not any(entry.is_relative_to(root) for root in roots):
            found += _importable(entry, scratch)
    return tuple(found)


def of_system(*, gpu: bool) -> tuple[Grant, ...]:
    """Return what every worker needs of the kernel's own files, and the GPU's device files."""
    names = _KERNEL + (_GPU_KERNEL if gpu else ())
    devices = [Path("/dev/null"), *(gpu_devices() if gpu else ())]
    return (
        *(Grant(Path(name), Access.READ) for name in names),
        *(Grant(device, Access.DEVICE) for device in devices),
    )


def gpu_devices() -> list[Path]:
    """Return the device files of this machine's GPUs; empty where there is none."""
    return sorted(path for path in Path("/dev").glob(GPU_DEVICES) if path.is_char_device())


def _importable(root: Path, scratch: Path) -> Iterator[Grant]:
    """Yield a folder to import from, without what is hidden in it and without temporary files.

    It may be a checkout, with credentials in `.git`.
    """
    yield Grant(root, Access.LIST if root.is_dir() else Access.READ)
    for child in sorted(root.iterdir()) if root.is_dir() else ():
        if not child.name.startswith(".") and not scratch.is_relative_to(child):
            yield Grant(child, Access.READ)
