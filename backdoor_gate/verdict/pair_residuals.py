"""Pairs of a source and a target class: how much weaker each trigger is than the classes' closeness explains.

Some classes are close by nature, a cat needs little to become a dog, so a weak trigger says nothing by itself. Three
things are taken out of the logarithms of the strengths first: what the source has in common with itself over all its
targets, what the target has over all its sources (both as medians, by median polish, Tukey 1977), and what the lead of
the source's logits over the target's explains (one slope for all pairs, Theil 1950 and Sen 1968). What is left is the
residual of a pair; its exponential is the trigger's share of the usual strength.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.verdict.confirm import second_looks
from backdoor_gate.verdict.control import NATURAL_SHARE, expected_strengths
from backdoor_gate.verdict.statistics import CONSISTENCY, TINY, log_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backdoor_gate.records import Measured
    from backdoor_gate.trigger_facts import Control, Pair
    from backdoor_gate.verdict.confirm import SecondLook, Way
    from backdoor_gate.verdict.scales import PairScale

PAIR_WORKING_SUCCESS = 0.75
"""Share of a source's held-out images that a trigger must move before the pair counts. A class has few of those, and
an attack that must recognise the source succeeds no more often than the network is right."""

LEAST_LEAD = 0.01
"""Leads below are taken for this one: their logarithm says nothing more."""

POLISHES = 10

FEWEST_IN_LINE = 3
"""Pairs of one source, or of one target, below which their median is not taken out."""

SLOPE_POINTS = 400
"""Pairs that the slope is taken from at most: it is a median over all pairs of pairs."""

LEAST_DIFFERENCE = 0.05
"""Difference of two log leads below which their slope is noise."""

NEXT = 3
"""Pairs that may be planted beside each other before the next one counts as what follows them."""

ORDINARY = 0.8
"""Share of the usual strength from which a pair is one that the control is compared on."""


@dataclass(frozen=True, eq=False, slots=True)
class Residuals:
    """What is left of each pair's log strength.

    Attributes:
        values: (P,) float64.
        works: (P,) bool, whether the trigger moves enough held-out images.
        sizes: (P,) float64, log of the strength itself, the larger one of two looks; infinite where no trigger works.
        spread: of the values, as a consistent MAD.
        of_control: (P,) float64, log of the strength as a share of what the control leads one to expect, see
            `verdict.control`; NaN where that is not known.
    """

    values: NDArray[np.float64]
    works: NDArray[np.bool_]
    sizes: NDArray[np.float64]
    spread: float
    of_control: NDArray[np.float64]

    def apart(self) -> NDArray[np.float64]:
        """Return each residual plus how far it is below what follows the weakest pairs: (P,), large where it is not.

        Natural pairs fade into the usual ones, planted ones leave a gap.
        """
        working = np.sort(self.values[self.works])
        follows = min(0.0, float(working[NEXT])) if len(working) > NEXT else 0.0
        return self.values + np.minimum(self.values - follows, 0.0)

    def beyond(self, scale: PairScale) -> NDArray[np.float64]:
        """Return by how much each pair is beyond what counts as planted: (P,) logarithms, -inf without a trigger."""
        alone = np.maximum(math.log(scale.alone) - self.values, math.log(scale.apart) - self.apart())
        unnatural = np.nan_to_num(math.log(NATURAL_SHARE) - self.of_control, nan=math.inf)
        controlled = np.nan_to_num(math.log(scale.controlled) - self.values - self.of_control, nan=-math.inf)
        excuses = np.minimum(unnatural, math.log(scale.single) - self.sizes)
        return np.where(self.works, np.minimum(np.maximum(alone, controlled), excuses), -math.inf)


def residuals(pairs: Sequence[Pair], largest: float = math.inf, controls: Sequence[Control] = ()) -> Residuals | None:
    """Return the residual of every pair; None where fewer than half of the triggers work: nothing is usual then.

    Args:
        pairs: as measured.
        largest: strength above which a trigger counts as not working.
        controls: what the control has of some of them.
    """
    known = [pair.strength for pair in pairs if pair.strength is not None]
    if 2 * len(known) < len(pairs):
        return None
    sources, targets = np.array([pair.source for pair in pairs]), np.array([pair.target for pair in pairs])
    # A trigger that never worked needs at least as much as the strongest that did.
    strengths = np.log([max(max(known) if pair.strength is None else pair.strength, TINY) for pair in pairs])
    leads = np.log([max(pair.lead, LEAST_LEAD) for pair in pairs])
    strengths, leads = (_polished(values, sources, targets) for values in (strengths, leads))
    values = _polished(strengths - slope(leads, strengths) * leads, sources, targets)
    works = np.array(
        [
            pair.strength is not None and pair.strength <= largest and (pair.success or 0.0) >= PAIR_WORKING_SUCCESS
            for pair in pairs
        ]
    )
    sizes = np.array([math.inf if pair.strength is None else math.log(max(pair.strength, TINY)) for pair in pairs])
    spread = CONSISTENCY * float(np.median(np.abs(values)))
    return Residuals(values, works, sizes, spread, _of_control(pairs, values, controls))


def _of_control(pairs: Sequence[Pair], values: NDArray[np.float64], controls: Sequence[Control]) -> NDArray[np.float64]:
    """Return the log share of the strength that the control leads one to expect: (P,), NaN where it is not known."""
    ordinary = {
        (pair.source, pair.target) for pair, value in zip(pairs, values, strict=True) if value >= math.log(ORDINARY)
    }
    strengths: dict[Way, float | None] = {(pair.source, pair.target): pair.strength for pair in pairs}
    expected = expected_strengths(strengths, controls, ordinary)
    shares = [
        math.nan
        if (usual := expected.get((pair.source, pair.target))) is None
        else (pair.strength or 0.0) / max(usual, TINY)
        for pair in pairs
    ]
    return np.log(np.maximum(shares, TINY))


def _polished(values: NDArray[np.float64], sources: NDArray[np.int_], targets: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return the values less the medians of their sources and targets, and less the median of all."""
    values = values.copy()
    lines = [line == k for line in (sources, targets) for k in np.unique(line)]
    lines = [line for line in lines if line.sum() >= FEWEST_IN_LINE]
    for _ in range(POLISHES):
        for line in lines:
            values[line] -= np.median(values[line])
    return values - np.median(values)


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the median slope of y over x between any two points, in [0, 2]; 0 where all x are alike."""
    step = -(-len(x) // SLOPE_POINTS)
    x, y = x[::step], y[::step]
    one, other = np.triu_indices(len(x), 1)
    difference = x[one] - x[other]
    apart = np.abs(difference) > LEAST_DIFFERENCE
    if not apart.any():
        return 0.0
    return float(np.clip(np.median((y[one] - y[other])[apart] / difference[apart]), 0.0, 2.0))


def best_map(pairs: Sequence[Pair], found: Residuals) -> tuple[tuple[int, ...], float]:
    """Return the planted map that the residuals speak for most: no two sources have the same target.

    Returns:
        Positions of its pairs, and the mean residual over all sources, those without a pair counting nothing.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import, and `policy check` is not)

    size = 1 + max(max(pair.source, pair.target) for pair in pairs)
    cost, at = np.zeros((size, size)), {}
    for position, pair in enumerate(pairs):
        if found.works[position] and found.values[position] < 0:
            cost[pair.source, pair.target] = found.values[position]
            at[pair.source, pair.target] = position
    rows, columns = linear_sum_assignment(cost)
    chosen = tuple(at[key] for key in zip(rows.tolist(), columns.tolist(), strict=True) if key in at)
    return chosen, float(cost[rows, columns].sum()) / len({pair.source for pair in pairs})


def looks_at_pairs(evidence: Measured) -> dict[Way, SecondLook]:
    """Return the second looks at the triggers of a detector that move one class to another."""
    strengths: dict[Way, float | None] = {(pair.source, pair.target): pair.strength for pair in evidence.pairs}
    return second_looks(evidence.detector, evidence.confirmations, strengths, PAIR_WORKING_SUCCESS)


def residuals_at_second_sight(evidence: Measured, found: Residuals, largest: float) -> Residuals:
    """Return the residuals as the second look leaves them.

    What is usual is still what the first look says: each pair by itself moves by as much as its strength has changed.

    Args:
        evidence: with its second looks.
        found: at first sight, of all its pairs.
        largest: strength above which a trigger counts as not working.
    """
    looks = looks_at_pairs(evidence)
    values, works, of_control = found.values.copy(), found.works.copy(), found.of_control.copy()
    sizes = found.sizes.copy()
    for position, pair in enumerate(evidence.pairs):
        look = looks.get((pair.source, pair.target))
        if look is None or pair.strength is None:
            continue
        works[position] &= look.strength is not None and look.strength <= largest and not look.natural
        sizes[position] = max(sizes[position], math.log(max(look.measured or 0.0, TINY)))
        change = log_ratio(look.strength or pair.strength, pair.strength)
        values[position] += change
        of_control[position] += change
    return replace(found, values=values, works=works, sizes=sizes, of_control=of_control)
