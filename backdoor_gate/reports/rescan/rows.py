"""One row per version, as every summary for people shows it, and the run in one sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from backdoor_gate.fleet import Action
from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from backdoor_gate.fleet import RescanReport, VersionResult

SHOWN = 500
"""Rows of a summary for people; the JSON document has all."""


_DUE, _NOT_JUDGED = "due", "not judged"
_WORST_FIRST = ("BLOCK", "REFUSED", "INCONCLUSIVE", _NOT_JUDGED, _DUE, "PASS")


class State(Enum):
    """What a version is, for people."""

    CLEAR = "clear"
    DUE = "due"
    """A scan was not to be made. Of a run: some version is worth a look, though none that counts failed."""
    BLOCKS = "blocks"
    MISSING = "missing"
    """There is no verdict, the bytes were refused, or the registry could not be written."""


@dataclass(frozen=True, slots=True)
class Row:
    """One version. All texts are as found, for the sink to sanitise.

    Attributes:
        used_as: `@champion, Production`; empty for a version that is not in use.
        answer: the verdict, or what stands in its place.
        why: why it was scanned or is due; empty where it was not, or where that could not be found out.
        said: the decisive reason, then what went wrong besides.
    """

    uri: str
    used_as: str
    state: State
    answer: str
    why: str
    said: str


def row(result: VersionResult) -> Row:
    """Return the row of one version."""
    found = result.finding
    why = result.reason.words if result.reason else ""
    said = "; ".join((*(found.reasons[:1] if found else ()), *result.faults))
    answer = found.verdict.value if found else _DUE if result.action is Action.LISTED else _NOT_JUDGED
    return Row(result.version.uri, ", ".join(result.version.used_as), _state(result), answer, why, said)


def notable(report: RescanReport) -> tuple[VersionResult, ...]:
    """Return the results that people read: all but kept PASSes of versions that do not count, as many as one reads.

    Those that count come first, and then those that are not clear.
    """
    found = [result for result in report.results if result.counts or not _unremarkable(result)]
    return tuple(sorted(found, key=lambda result: (not result.counts, _state(result) is State.CLEAR)))[:SHOWN]


def rest(report: RescanReport) -> str:
    """Say what `notable` leaves out; empty where that is nothing."""
    left = len(report.results) - len(notable(report))
    kept = sum(not result.counts and _unremarkable(result) for result in report.results)
    parts = (
        f"{_number(kept, 'version')} not in use whose PASS stands" if kept else "",
        f"{_number(left - kept, 'version')} in the JSON report alone" if left > kept else "",
    )
    return " and ".join(part for part in parts if part)


def headline(report: RescanReport) -> str:
    """Return the run in one sentence, without a full stop."""
    actions = Counter(result.action for result in report.results)
    models = len({result.version.name for result in report.results})
    words = {Action.SCANNED: "scanned", Action.LISTED: "due", Action.KEPT: "kept", Action.FAILED: "failed"}
    done = ", ".join(f"{actions[action]} {word}" for action, word in words.items() if actions[action])
    more = f"; {_number(len(report.uncovered), 'model')} not covered by the policy" if report.uncovered else ""
    return f"{_number(len(report.results), 'version')} of {_number(models, 'model')}: {done}{more}"


def tally(report: RescanReport) -> str:
    """Return how many versions have which answer, the worst first."""
    answers = Counter(row(result).answer for result in report.results)
    return ", ".join(f"{answers[answer]} {answer}" for answer in _WORST_FIRST if answers[answer])


def overall(report: RescanReport) -> State:
    """Return what the run is as a whole: the version that decided, else whether any is worth a look."""
    first = deciding(report)
    if first:
        return _state(first)
    return State.CLEAR if all(_state(result) is State.CLEAR for result in report.results) else State.DUE


def deciding(report: RescanReport) -> VersionResult | None:
    """Return the version that gave the run its exit code; None where that is zero."""
    codes = (result for result in report.results if result.counts and result.exit_code == report.exit_code)
    return next(codes, None) if report.exit_code else None


def _state(result: VersionResult) -> State:
    if result.finding and result.finding.verdict is Verdict.BLOCK:
        return State.BLOCKS
    if result.action is Action.LISTED:
        return State.DUE
    return State.MISSING if result.exit_code else State.CLEAR


def _unremarkable(result: VersionResult) -> bool:
    return result.action is Action.KEPT and result.exit_code == 0


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
