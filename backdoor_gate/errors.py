"""What can go wrong, as one tree. Each error carries the exit code of the contract and tells the user what to do next.

```
GateError
├── UsageError           2   the call, the policy or the clean data is wrong: nothing was judged
├── RefusedError         3   the candidate's bytes are not acceptable
├── UnmeasuredError      4   the evidence does not suffice for a verdict
│   ├── RegistryReadError    the registry is unreachable, or has no such model or version
│   └── WorkerError          the scanner process died, hung, or spoke out of turn
├── OutputError          5   the verdict stands, but a report or the registry could not be written
└── NotVerifiedError     6   there is no valid verdict for these bytes (`verify`, `promote`)
```
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """How the program ends, as the contract has it."""

    OK = 0
    BLOCKED = 1
    USAGE = 2
    REFUSED = 3
    UNMEASURED = 4
    UNWRITTEN = 5
    NOT_VERIFIED = 6
    INTERNAL = 70
    INTERRUPTED = 130


WORST_FIRST = (
    ExitCode.BLOCKED,
    ExitCode.REFUSED,
    ExitCode.UNMEASURED,
    ExitCode.NOT_VERIFIED,
    ExitCode.UNWRITTEN,
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.OK,
)
"""By severity: what the worst of several models or faults is."""


def worst(codes: Iterable[int]) -> int:
    """Return the most severe of several exit codes; an unknown one counts as an internal error."""
    known = (ExitCode(code) if code in WORST_FIRST else ExitCode.INTERNAL for code in codes)
    return min(known, key=WORST_FIRST.index, default=ExitCode.USAGE)


def explanation(what: str, where: str = "", hint: str = "") -> str:
    """Return one line: `where: what; hint`, without the parts that are empty."""
    place = f"{where}: " if where else ""
    advice = f"; {hint}" if hint else ""
    return f"{place}{what}{advice}"


class GateError(Exception):
    """Any failure that the gate explains in one line: where it was, what was wrong, what to do next.

    Args:
        what: the fault, as a statement without a full stop ("unknown key 'tresholds'").
        where: the file, key or URI at fault; empty where `what` already names it.
        hint: what the user should do next, as an imperative ("write it as 'threshold'").
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.others: tuple[GateError, ...] = ()
        """What else was found wrong on the same occasion, each with a line of its own."""

    def __str__(self) -> str:
        """One line: `where: what; hint`."""
        return explanation(self.what, self.where, self.hint)


class UsageError(GateError):
    """The call, the policy or the clean data is wrong: nothing was judged."""

    exit_code = ExitCode.USAGE


def together(errors: Iterable[UsageError]) -> UsageError:
    """Return the first of at least one error, which brings all others with it."""
    first, *others = [each for error in errors for each in (error, *error.others)]
    first.others = tuple(others)
    return first  # type: ignore[return-value]  # others are of the same kind


class RefusedError(GateError):
    """The candidate's bytes are not acceptable: format, malformed content, unsafe path.

    Args:
        what: as of any failure.
        where: likewise.
        hint: likewise.
        executable: the format that can run code, where the candidate is of one; else, or where not looked for, empty.
    """

    exit_code = ExitCode.REFUSED

    def __init__(self, what: str, *, where: str = "", hint: str = "", executable: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.executable = executable


class UnmeasuredError(GateError):
    """A required measurement is missing, so there is no verdict to give but INCONCLUSIVE."""

    exit_code = ExitCode.UNMEASURED


class RegistryReadError(UnmeasuredError):
    """The registry could not be reached, or holds no such model, version or artifact."""


class WorkerError(UnmeasuredError):
    """The scanner process died, ran out of time or memory, or broke the channel's rules."""


class OutputError(GateError):
    """The verdict stands, but a report or the registry could not be written."""

    exit_code = ExitCode.UNWRITTEN


class NotVerifiedError(GateError):
    """There is no valid, current verdict for exactly these bytes."""

    exit_code = ExitCode.NOT_VERIFIED
