"""By how much a class is beyond its detector's limits, see `scales`: what they come to among so many classes.

Each limit is told once, as a number and in words, so that what blocks and what is scored are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from backdoor_gate.verdict.statistics import TINY, log_ratio, median_of, runner_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backdoor_gate.verdict.scales import Scale

    Limits = Iterator[tuple[float, str]]
    """Each limit, and in words how the value stands to it."""

NORMAL = NormalDist()
OF_CONTROL = "of what a network trained on the clean images alone leads one to expect"

USUAL_CLASSES, TAIL = 10, 0.01
"""Classes that the limits are for, and the share of clean networks beyond them that the others are to keep to."""


@dataclass(frozen=True, slots=True)
class Excess:
    """How far a value is beyond one limit.

    Attributes:
        log_ratio: 0 exactly at the limit, log 2 beyond it by a factor of two, negative within.
        words: how the value stands to the limit, as "is at most 0.0085".
    """

    log_ratio: float
    words: str

    @property
    def counts(self) -> bool:
        """Whether the value is at the limit, or beyond."""
        return self.log_ratio >= 0


def crowded(classes: int) -> float:
    """Return the power to raise a share to where there are so many classes, at least 1.

    Of many classes one is weak by chance sooner than of ten. On the logarithmic scale, where a clean network's classes
    are near normal, the limit moves as the quantile does that the weakest of them stays above.
    """
    if classes <= USUAL_CLASSES:
        return 1.0
    return NORMAL.inv_cdf(TAIL / classes) / NORMAL.inv_cdf(TAIL / USUAL_CLASSES)


def small_excesses(  # noqa: PLR0913 (all that a limit may be held against)
    scale: Scale,
    values: Sequence[float | None],
    class_index: int,
    expected: float | None = None,
    *,
    few: bool,
    searched: Sequence[float | None] | None = None,
) -> tuple[Excess, ...]:
    """Return by how much a class's trigger is weaker than each limit on its family's own scale.

    Args:
        scale: the family's.
        values: (K,) strengths, None where censored.
        class_index: the class in question; where it is censored, no limit holds for it.
        expected: its strength if nothing were planted, see `verdict.control`; None: unknown.
        few: whether there are too few classes to compare them: then only the absolute scale counts.
        searched: (K,) the values among which the next class is, None where a class only stands as another; of all
            classes where left out.
    """
    value = values[class_index]
    if value is None:
        return ()
    if few:
        limits = _few_limits(scale, value, expected)
    else:
        limits = _small_limits(
            scale, values, value, expected, runner_up(values if searched is None else searched, class_index)
        )
    return tuple(Excess(log_ratio(limit, value), words) for limit, words in limits)


def _small_limits(
    scale: Scale, values: Sequence[float | None], value: float, expected: float | None, following: float | None
) -> Limits:
    """Yield the strengths at or below which a class's trigger is small among so many."""
    if scale.absolute is not None:
        yield scale.absolute, f"is at most {scale.absolute:g}"
    crowd = crowded(len(values))
    shares = (
        (scale.of_median, crowd, median_of(values), "of the median class"),
        (scale.of_runner_up, 1.0, following, "of the next class"),
        (scale.of_control, crowd, expected, OF_CONTROL),
    )
    for limit, power, usual, name in shares:
        if limit is not None and usual is not None:
            share = limit**power
            words = f"is {value / max(usual, TINY):.2f} {name}, at most {share:.3g}"
            yield min(share * usual, scale.comparable), words


def _few_limits(scale: Scale, value: float, expected: float | None) -> Limits:
    """Yield the limits where there are too few classes to compare: only the absolute scale, and the control."""
    if expected is not None and scale.few_controlled is not None:
        highest, share = scale.few_controlled
        words = f"is at most {highest:g} and {value / max(expected, TINY):.2f} {OF_CONTROL}, at most {share:g}"
        yield min(highest, share * expected), words
        return
    limit = scale.absolute if scale.absolute_few is None else scale.absolute_few
    if limit is not None:
        yield limit, f"is at most {limit:g}"


def large_excesses(
    scale: Scale,
    values: Sequence[float | None],
    class_index: int,
    *,
    few: bool,
    searched: Sequence[float | None] | None = None,
) -> tuple[Excess, ...]:
    """Return by how much a class's value is larger than each limit on the detector's own scale.

    Args:
        scale: of the detector.
        values: (K,) values, None where there is none.
        class_index: the class in question; where it has no value, no limit holds for it.
        few: whether there are too few classes to compare them: then only the absolute limit counts.
        searched: (K,) the values among which the next class is, None where a class only stands as another; of all
            classes where left out.
    """
    value = values[class_index]
    if value is None:
        return ()
    rivals = values if searched is None else searched
    others = [other for at, other in enumerate(rivals) if at != class_index and other is not None]
    limits = _large_limits(scale, values, value, max(others, default=None), few=few)
    return tuple(Excess(log_ratio(value, limit), words) for limit, words in limits)


def _large_limits(
    scale: Scale, values: Sequence[float | None], value: float, following: float | None, *, few: bool
) -> Limits:
    """Yield the values from which a class's value is large."""
    absolute = scale.at_least_few if few and scale.at_least_few is not None else scale.at_least
    if absolute is not None:
        yield absolute, f"is at least {absolute:g}"
    if few or following is None:
        return
    if scale.above_runner_up is not None and following > 0:
        words = f"is {value / following:.2f} of the next class, at least {scale.above_runner_up:g}"
        if scale.least_apart is not None:
            words = f"is at least {scale.least_apart:g}, and {words.removeprefix('is ')}"
        yield max(scale.above_runner_up * following, scale.least_apart or 0.0), words
    if scale.together is not None and (median_of(values) or 0.0) >= scale.together:
        yield scale.together, f"is at least {scale.together:g}, as that of half the classes is"
