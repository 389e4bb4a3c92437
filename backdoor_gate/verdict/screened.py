"""Many classes: those that had no full search stand as the ones that were drawn at random for it.

What is usual, the median and the spread, is then that of all classes, though most of those searched in full are the
weakest. No class can be suspected for a value that is another's, and none is the next class with one, see `comparison`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdoor_gate.records import Measured


def completed(evidence: Measured) -> Measured:
    """Return the evidence with a value for each class that was left out, and a trigger that does not work."""
    screening = evidence.screening
    if screening is None or not screening.drawn:
        return evidence
    values = list(evidence.values)
    success = None if evidence.success is None else list(evidence.success)
    for k, drawn in zip(screening.left_out, cycle(screening.drawn), strict=False):
        values[k] = evidence.values[drawn]
        if success is not None:
            success[k] = 0.0
    return replace(evidence, values=tuple(values), success=None if success is None else tuple(success))
