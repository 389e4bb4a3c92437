"""What the child gives up before it touches a byte of the candidate.

Tier C is what stands here: resource limits, and death with the parent. It holds accidents, not attackers.

- Tier B goes into this module: Landlock before torch is imported, a seccomp filter over all threads after it, and a
  self-test that proves denial before the scan starts.
- Tier A goes around the whole child, in `process`: bubblewrap or a container started by the parent, with tier B inside.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_SIGKILL = 9
_OPEN_FILES = 256
_FILE_BYTES = 16 << 20


def tier() -> str:
    """Return the isolation tier that a child reaches: `C`."""
    return "C"


def limit_process() -> None:
    """Bound files and core dumps for good, hide this process's memory, and tie its life to the parent's."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, _FILE_BYTES)
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        _prctl(_PR_SET_DUMPABLE, 0)


def limit_memory(size: int) -> None:
    """Bound the address space to `size` bytes. Linux only: other kernels accept no such limit.

    Importing torch and training a small convolution takes about 0.9 GiB of address space on two threads and some
    16 MiB more per further thread, so limits below 1.5 GiB leave no room to measure in. With CUDA the driver reserves
    more address space than any sensible limit, so there it must not be called.
    """
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, size)


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (bound, bound))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
