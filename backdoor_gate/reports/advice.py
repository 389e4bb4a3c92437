"""What a verdict means for its reader, and what to do next, in plain words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

BY_VERDICT = {
    Verdict.PASS: (
        "You may promote this version, and only this one.",
        "The verdict holds for exactly these bytes, this policy and these clean images, until it expires.",
        "Read what was not tested: a PASS says nothing of it.",
    ),
    Verdict.BLOCK: (
        "Do not promote this version.",
        "Look at the recovered trigger: a mark that has nothing to do with the class is a backdoor.",
        "What belongs to the class, such as its usual background, can be a shortcut that the network took by itself.",
        "Search the training images of the suspect classes for it, and train again without them.",
        "If you take it for a false alarm, scan again with more clean images and another --seed.",
    ),
    Verdict.INCONCLUSIVE: ("Do not promote this version: the gate could not tell.",),
    Verdict.REFUSED: (
        "Do not promote this version: nothing was measured.",
        "Do what the reason says, log the model anew and scan the new version.",
        "If you did not make this file, treat it as hostile and open it nowhere else.",
    ),
}
"""What to do next, by verdict."""

WEAK = "Something stood out without reaching its limit: have a look at it, or scan again with more clean images."

_BY_REASON = {
    r"timed out|out of time": "Allow more time (limits.time or --budget), or lower the detectors' steps.",
    r"out of memory|no room": "Allow more memory (limits.memory), or scan on a larger machine.",
    r"no trigger reached": "Give more clean images, or raise the detectors' steps.",
    r"no better than guessing": "Let 'backdoor-gate doctor' find the cause, or give clean images "
    "of this model's own task, in its order of classes.",
    r"sandbox unavailable": "Scan where the stricter isolation is available, or lower limits.isolation.",
    r"finite": "Train the model again: its weights or outputs are not finite.",
    r"process died|malformed result|no result": "Scan again; if it repeats, treat the candidate as hostile.",
    r"registry|no artifact|no such": "Check the model's name and version, and that the registry can be reached.",
    r"model output invalid|fixed batch|no gradient": "Export the model as the reason says, and scan the new version.",
}
_ELSE = "Do what the reason says, and scan again."


def next_steps(verdict: Verdict, reasons: Iterable[str], *, weak: bool) -> tuple[str, ...]:
    """Return what to do next, one sentence or two each, the most important first.

    Args:
        verdict: of the audit.
        reasons: of the verdict; they choose the advice where the gate could not tell.
        weak: whether there is a weak suspicion.
    """
    steps = BY_VERDICT[verdict]
    if verdict is Verdict.INCONCLUSIVE:
        found = [_advice(reason) for reason in reasons if not reason.startswith("weak suspicion")]
        steps = (*steps, *dict.fromkeys(found))
    return (*steps, WEAK) if weak else steps


def _advice(reason: str) -> str:
    return next((advice for pattern, advice in _BY_REASON.items() if re.search(pattern, reason)), _ELSE)
