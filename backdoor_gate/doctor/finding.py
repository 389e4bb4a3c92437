"""What the doctor says: one line each, with where it is and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from backdoor_gate.errors import ExitCode, explanation

if TYPE_CHECKING:
    from backdoor_gate.errors import GateError


class Level(StrEnum):
    """How much a finding weighs."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        kind: stable name, such as `input-range`.
        level: whether it has to be mended.
        what: the fact, as a statement.
        where: the policy key with its line, the file or the part at fault; empty where `what` names it.
        hint: what to try next, as an imperative; empty where there is nothing to do.
        exit_code: 0 unless it is a problem, then what a scan would end with.
    """

    kind: str
    level: Level
    what: str
    where: str = ""
    hint: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        """One line: `where: what; hint`."""
        return explanation(self.what, self.where, self.hint)


def ok(kind: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(kind, Level.OK, what)


def note(kind: str, what: str, where: str = "", hint: str = "") -> Finding:
    """Return something that a scan can live with."""
    return Finding(kind, Level.NOTE, what, where, hint)


def problem(kind: str, what: str, where: str = "", hint: str = "", exit_code: int = ExitCode.USAGE) -> Finding:
    """Return something that has to be mended before a verdict means anything."""
    return Finding(kind, Level.PROBLEM, what, where, hint, exit_code)


def failure(kind: str, error: GateError) -> Finding:
    """Return the problem that an error stands for."""
    return problem(kind, error.what, error.where, error.hint, error.exit_code)
