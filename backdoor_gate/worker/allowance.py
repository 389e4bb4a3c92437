"""How large the result of a scan may be: it grows with the model's classes, whose number the policy says.

The child holds itself to it as the parent does, so that a scan that is honest and too large ends with its own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.catalogue import MOST_UNDECLARED
from backdoor_gate.worker.wire import MAX_RESULT_BYTES

if TYPE_CHECKING:
    from backdoor_gate.records import Job

OF_A_CLASS = 880
"""Bytes for what all detectors together say of a class: its values, its success, what moves images to it, that it was
left out. It is 350 to 500 as a rule, and less than 750 where every number has all the digits that one can have."""
OF_A_CLASS_SEARCHED = 192
"""Bytes for what one detector says besides of a class that it searches in full: its control, seldom a second look."""
OF_A_SOURCE = 1536
"""Bytes for what one detector says of a class that it searches from: nine pairs, their controls and a second look."""


def result_bytes(job: Job) -> int:
    """Return how many bytes the result's document may have; its arrays have their own sizes."""
    classes = job.declared.num_classes or MOST_UNDECLARED
    total = MAX_RESULT_BYTES + OF_A_CLASS * classes
    for plan in job.detectors:
        total += OF_A_CLASS_SEARCHED * min(classes, plan.settings.get("classes", 0))
        total += OF_A_SOURCE * min(classes, plan.settings.get("sources", 0))
    return total
