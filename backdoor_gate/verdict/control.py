"""What the control leads one to expect: how weak a trigger each class, or pair, has by nature.

The control (see `scan.control`) is another network than the candidate, so all its triggers are somewhat weaker or
stronger than the candidate's. That is taken out by the median ratio of the two, where there are enough to take it from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.catalogue import FEWEST_COMPARED
from backdoor_gate.verdict.statistics import TINY

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from backdoor_gate.trigger_facts import Control
    from backdoor_gate.verdict.confirm import Way

NATURAL_SHARE = 0.45
"""Share of the expected strength from which a trigger is as weak as the images make it."""

LEAST_USUAL = 0.5
"""Median ratio that excuses at most: a candidate with a trigger in most of its classes must not pass for one whose
triggers are all somewhat weaker."""


def expected_strengths(
    strengths: Mapping[Way, float | None],
    controls: Sequence[Control],
    ordinary: Container[Way] | None = None,
    least: float = 0.0,
) -> dict[Way, float]:
    """Return the strength that each trigger would have if nothing were planted; ways without one are left out.

    Args:
        strengths: of the candidate's triggers, None where censored.
        controls: of the control's.
        ordinary: the ways that the median ratio is taken over; None: all.
        least: the ratio is taken for no less.
    """
    known = [found.strength for found in controls if found.strength is not None]
    if not known:
        return {}
    # A trigger that the control has none of is at least as hard to find as the strongest that it has.
    both = {
        (found.source, found.target): (max(known) if found.strength is None else found.strength, own)
        for found in controls
        if (own := strengths.get((found.source, found.target))) is not None
    }
    ratios = [own / max(control, TINY) for way, (control, own) in both.items() if ordinary is None or way in ordinary]
    usual = max(float(np.median(ratios)), least) if len(ratios) >= FEWEST_COMPARED else 1.0
    return {way: usual * control for way, (control, _) in both.items()}
