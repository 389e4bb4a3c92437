"""What a scan has to work with: the device, the memory for activations, and the time until it has to tell."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from backdoor_gate.records import Limits

REPORTING_RESERVE = 0.05
"""Share of the time limit kept back, so that what was measured can be told before the parent kills the worker."""

ACTIVATION_SHARE = 0.4
"""Share of the memory left after loading that activations of one batch may take."""

ACTIVATION_CAP = 512 << 20
"""Bytes of activations of one batch on CPU at most: larger batches fall out of the processor's caches and do not run
faster."""

ASSUMED_IN_USE = 1 << 30
"""Bytes of address space that torch and a network take, where the system does not say."""


def deadline_of(limits: Limits) -> float:
    """Return when a scan that begins now has to stop measuring, on the monotonic clock in seconds."""
    return time.monotonic() + limits.seconds * (1 - REPORTING_RESERVE)


def choose_device(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: CUDA was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available", where="--device cuda", hint="use --device auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the device as reports show it."""
    return "cpu" if device.type == "cpu" else f"cuda:{torch.cuda.current_device()} {torch.cuda.get_device_name()}"


def free_for_activations(memory_limit: int, device: torch.device) -> int:
    """Return the bytes that the activations of one batch may take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free * ACTIVATION_SHARE)
    free = max(memory_limit - address_space_in_use(), 0)
    return min(int(free * ACTIVATION_SHARE), ACTIVATION_CAP)


def address_space_in_use() -> int:
    """Return the bytes of address space of this process, which is what the memory limit bounds.

    The peak resident set would not do: a child inherits its parent's.
    """
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[0]
    except OSError:
        return ASSUMED_IN_USE
    return int(pages) * resource.getpagesize()
