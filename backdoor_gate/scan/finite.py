"""Whether evidence can be told: logits may be so large that what is worked out of them is no number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdoor_gate.records import Measured


def is_finite(evidence: Measured) -> bool:
    """Tell whether every number that was measured is finite."""
    numbers = (
        *evidence.values,
        *(evidence.success or ()),
        *(number for pair in evidence.pairs for number in (pair.strength, pair.success, pair.lead)),
        *(number for look in evidence.confirmations for number in (look.strength, look.success, look.likeness)),
        *(control.strength for control in evidence.controls),
    )
    return all(number is None or math.isfinite(number) for number in numbers)
