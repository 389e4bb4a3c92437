"""The parent's first message: how the child has to lock itself down. It names no file of the candidate's choice.

The job follows in a message of its own, once the parent has seen that the lock-down holds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from backdoor_gate.worker.grants import Access, Grant

SECRET = "secret"  # noqa: S105 (a file's name)
"""File in the canary folder that a locked child cannot read."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the child needs to lock itself down, and to try whether it is locked."""

    nonce: str
    """Carried by every answer."""
    scratch: Path
    canary: Path
    """Folder that is open to the child's user and not granted: only the lock-down keeps it closed."""
    gate: int
    """Process number of the parent."""
    user: int | None
    """User to become; None to stay who it is."""
    gpu: bool
    memory: int
    """Bytes of address space; not a limit where a GPU is in use."""
    processes: int
    """Processes and threads of the child's user at most; 0 for no limit."""
    grants: tuple[Grant, ...]
    """Of the job; what any worker needs is not among them."""


def encode(order: Confinement) -> bytes:
    """Return the message: one line."""
    return json.dumps(asdict(order), default=str).encode() + b"\n"


def decode(line: bytes) -> Confinement:
    """Return the order in a line that `encode` wrote; the parent is trusted."""
    order = json.loads(line)
    grants = tuple(Grant(Path(grant["path"]), Access(grant["access"])) for grant in order["grants"])
    folders = {name: Path(order[name]) for name in ("scratch", "canary")}
    return Confinement(**(order | folders | {"grants": grants}))
