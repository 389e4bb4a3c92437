"""Which isolation tier a child has reached: facts in, tier out.

The facts come from three sides: what the parent set up, what the kernel says of the child, and what the child met when
it tried to break out. The tier is what all of them allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.worker import probe

if TYPE_CHECKING:
    from backdoor_gate.worker.schema import LockdownDocument

A, B, C = "A", "B", "C"
"""A: namespaces of its own around B. B: Landlock and seccomp, proved. C: limits alone."""

DENIED = frozenset({"EPERM", "EACCES", "ENOSYS"})
"""Errors that mean 'you may not'."""
_HIDDEN = frozenset({"ENOENT", "ESRCH"})
"""Errors that mean 'there is no such process', which is as good where one looks for the gate."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """The tier, and why it is not a stronger one."""

    tier: str
    missing: tuple[str, ...]
    """What the next stronger tier lacks; empty for A."""
    notes: tuple[str, ...]
    """What was applied and what was not, for the record."""

    def require(self, minimum: str) -> None:
        """Check that the tier is at least `minimum`; A is the strongest.

        Raises:
            UnmeasuredError: it is weaker.
        """
        if self.tier > minimum:
            raise UnmeasuredError(
                f"sandbox unavailable: {'; '.join(self.missing)}; policy needs tier {minimum}",
                where="limits.isolation",
                hint=f"scan where tier {minimum} can be had, or accept tier {self.tier} in the policy",
            )


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """What the kernel says of all threads of a process."""

    filtered: bool
    """By seccomp."""
    no_new_privileges: bool


def kernel_facts(pid: int) -> KernelFacts:
    """Return what the kernel says of a process; the least it says where it says nothing."""
    try:
        texts = [status.read_text("ascii") for status in Path(f"/proc/{pid}/task").glob("*/status")]
    except OSError:
        texts = []
    threads = [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts]
    return KernelFacts(
        filtered=bool(threads) and all(thread.get("Seccomp") == "2" for thread in threads),
        no_new_privileges=bool(threads) and all(thread.get("NoNewPrivs") == "1" for thread in threads),
    )


def assess(told: LockdownDocument, kernel: KernelFacts, *, intact: bool, own_user: bool, outside: str) -> Isolation:
    """Return the isolation that the facts allow.

    Args:
        told: what the child applied and what it met.
        kernel: what the kernel says of the child.
        intact: whether the canary folder is as it was.
        own_user: whether the child was given a user of its own.
        outside: why there are no namespaces around the child; empty where there are.
    """
    missing = _missing_for_b(told, kernel, intact=intact)
    notes = (
        f"Landlock {told.landlock}" if told.landlock else "no Landlock",
        "seccomp" if kernel.filtered and "seccomp" not in told.faults else "no seccomp",
        "own user" if own_user and "user" not in told.faults else "no own user",
        outside or "namespaces",
    )
    if missing:
        return Isolation(C, missing, notes)
    return Isolation(B, (outside,), notes) if outside else Isolation(A, (), notes)


def _missing_for_b(told: LockdownDocument, kernel: KernelFacts, *, intact: bool) -> tuple[str, ...]:
    names = {"landlock": "Landlock", "seccomp": "seccomp", "privileges": "no_new_privs"}
    absent = [f"no {names[step]} ({told.faults[step]})" for step in names if step in told.faults]
    if absent:
        return tuple(absent)
    claims = (
        (told.landlock >= 1, "no Landlock"),
        (told.threads == 1, "more than one thread before Landlock"),
        (kernel.filtered, "a thread without seccomp"),
        (kernel.no_new_privileges, "a thread without no_new_privs"),
        (intact, "not denied: writing"),
    )
    open_doors = [name for name in probe.ATTEMPTS if not _denied(name, told.attempts.get(name, probe.DONE))]
    broken = [f"not denied: {name}" for name in open_doors]
    return (*(fault for holds, fault in claims if not holds), *broken)


def _denied(name: str, outcome: str) -> bool:
    looks_for_gate = name in {"gate's environment", "signal"}
    return outcome in DENIED or (looks_for_gate and outcome in _HIDDEN)
