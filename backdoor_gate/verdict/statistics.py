"""The anomaly index of a class vector, and how often a clean network shows one as large.

The index is the literature's MAD index (Neural Cleanse, IEEE S&P 2019, section V) taken on the log scale and judged by
its exact null for the number of classes, instead of the fixed threshold 2, which a third of clean 10-class networks
exceed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.catalogue import FEWEST_COMPARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TINY = 1e-12
"""A strength that is no larger is taken for this one: it has a logarithm, and may be divided by."""

CONSISTENCY = 1.4826
"""Makes the MAD of a normal sample estimate its standard deviation."""

LEAST_SPREAD = 0.2
"""Least standard deviation of the logarithms of a clean network's strengths: where half of its classes happen to
lie closer together, an ordinary class would stand far out."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """The most extreme class of a vector.

    Attributes:
        class_index: which class.
        index: how far it is from the median on the suspicious side, in consistent MAD units.
        p_value: chance of an index this large on a clean model, under the normal null.
    """

    class_index: int
    index: float
    p_value: float


def outlier(values: Sequence[float | None], *, small: bool, least_spread: float = 0.0) -> Outlier | None:
    """Return the most extreme class on the suspicious side.

    Args:
        values: (K,) on a scale where a clean model's classes are near normal (a logarithm); None is right-censored:
            known only to be larger than all others.
        small: whether small values are suspicious, or large ones.
        least_spread: standard deviation that is taken where the classes' own is smaller.

    Returns:
        None where the index is undefined: fewer than FEWEST_COMPARED, half or more censored (median and spread are then
        unknown), or no spread at all. Censored values can only be on the large side, so with `small` they leave the
        median exact, and the spread too where they lie farther from it than the MAD; else the spread is over-estimated
        and the index is a lower bound.
    """
    count, censored = len(values), sum(value is None for value in values)
    if count < FEWEST_COMPARED or (censored and not small):
        return None
    known = np.array([np.inf if value is None else value for value in values])
    if 2 * censored >= count:
        return None
    middle = float(np.median(known))
    spread = CONSISTENCY * float(np.median(np.abs(known - middle)))
    if not (math.isfinite(middle) and math.isfinite(spread) and spread > 0):
        return None
    spread = max(spread, least_spread)
    deviation = (middle - known) if small else (known - middle)
    at = int(np.argmax(deviation))
    index = float(deviation[at]) / spread
    return Outlier(at, index, p_value(index, count))


def critical_value(classes: int, rate: float) -> float:
    """Return the index that a clean model of so many classes exceeds with probability `rate`.

    Args:
        classes: K ≥ FEWEST_COMPARED: of fewer there is no `outlier`.
        rate: in (0, 0.5]; below the smallest tail of the table the value is extrapolated along the last two entries.
    """
    tails, indices = _null(classes)
    return float(_interpolate(np.log([rate]), np.log(tails)[::-1], indices[::-1])[0])


def p_value(index: float, classes: int) -> float:
    """Return the chance that a clean model of so many classes has an index of at least `index`, in [1e-4, 1].

    Beyond the ends of the table the chance is given as its largest or smallest entry: the table's tails are
    [1e-4, 0.5], so half is read as "no evidence".
    """
    tails, indices = _null(classes)
    if index <= indices[0]:
        return 1.0 if index <= 0 else float(tails[0])
    return float(np.exp(np.interp(index, indices, np.log(tails))))


@cache
def _table() -> tuple[NDArray[np.float64], dict[int, NDArray[np.float64]]]:
    text = resources.files("backdoor_gate.verdict").joinpath("null_table.json").read_text("utf-8")
    table = json.loads(text)
    return np.array(table["tails"]), {int(classes): np.array(row) for classes, row in table["index"].items()}


@cache
def _null(classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tail probabilities (falling) and indices (rising) for so many classes.

    Between tabulated numbers of classes the indices are interpolated over log K; beyond the largest its row is used.
    """
    tails, rows = _table()
    if classes in rows:
        return tails, rows[classes]
    known = sorted(rows)
    below = max((k for k in known if k < classes), default=known[0])
    above = min((k for k in known if k > classes), default=known[-1])
    if below == above:
        return tails, rows[below]
    share = math.log(classes / below) / math.log(above / below)
    return tails, (1 - share) * rows[below] + share * rows[above]


def _interpolate(at: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate, and extrapolate below the smallest x along the first two points."""
    slope = (y[1] - y[0]) / (x[1] - x[0])
    return np.where(at < x[0], y[0] + (at - x[0]) * slope, np.interp(at, x, y))


def logarithm(value: float | None) -> float | None:
    """Return log(value); a value that is not positive is the smallest there can be."""
    return None if value is None else math.log(max(value, TINY))


def log_ratio(numerator: float, denominator: float) -> float:
    """Return the logarithm of a ratio; what is not positive is the smallest there can be."""
    return math.log(max(numerator, TINY) / max(denominator, TINY))


def median_of(values: Sequence[float | None]) -> float | None:
    """Return the median with censored values counted as larger than all others; None where that leaves it unknown."""
    middle = float(np.median([np.inf if value is None else value for value in values])) if values else math.inf
    return middle if math.isfinite(middle) else None


def runner_up(values: Sequence[float | None], class_index: int) -> float | None:
    """Return the smallest value of the other classes; None where that is censored or there is no other."""
    others = [value for at, value in enumerate(values) if at != class_index and value is not None]
    return min(others, default=None)
