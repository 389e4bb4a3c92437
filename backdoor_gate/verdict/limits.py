"""How a class stands to its detector's limits, see `scales`: what they come to among so many classes, in words."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

from backdoor_gate.verdict.statistics import median_of, runner_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.verdict.scales import Scale

NORMAL = NormalDist()
OF_CONTROL = "of what a network trained on the clean images alone leads one to expect"

USUAL_CLASSES, TAIL = 10, 0.01
"""Classes that the limits are for, and the share of clean networks beyond them that the others are to keep to."""


def crowded(classes: int) -> float:
    """Return the power to raise a share to where there are so many classes, at least 1.

    Of many classes one is weak by chance sooner than of ten. On the logarithmic scale, where a clean network's classes
    are near normal, the limit moves as the quantile does that the weakest of them stays above.
    """
    if classes <= USUAL_CLASSES:
        return 1.0
    return NORMAL.inv_cdf(TAIL / classes) / NORMAL.inv_cdf(TAIL / USUAL_CLASSES)


def small_limits(
    scale: Scale,
    values: Sequence[float | None],
    class_index: int,
    expected: float | None = None,
    *,
    few: bool,
) -> tuple[tuple[float, str], ...]:
    """Return the strengths at or below which a class's trigger is small, and in words how it stands to each.

    Args:
        scale: the family's.
        values: (K,) strengths, None where censored.
        class_index: the class in question, not censored.
        expected: its strength if nothing were planted, see `verdict.control`; None: unknown.
        few: whether there are too few classes to compare them: then only the absolute scale counts.
    """
    value = values[class_index]
    if value is None:
        return ()
    if few:
        return _few_limits(scale, value, expected)
    limits: list[tuple[float, str]] = []
    if scale.absolute is not None:
        limits.append((scale.absolute, f"is at most {scale.absolute:g}"))
    crowd = crowded(len(values))
    shares = (
        (scale.of_median, crowd, median_of(values), "of the median class"),
        (scale.of_runner_up, 1.0, runner_up(values, class_index), "of the next class"),
        (scale.of_control, crowd, expected, OF_CONTROL),
    )
    for limit, power, usual, name in shares:
        if limit is not None and usual is not None:
            share = limit**power
            words = f"is {value / usual:.2f} {name}, at most {share:.3g}"
            limits.append((min(share * usual, scale.comparable), words))
    return tuple(limits)


def _few_limits(scale: Scale, value: float, expected: float | None) -> tuple[tuple[float, str], ...]:
    """Return the limits where there are too few classes to compare: only the absolute scale, and the control."""
    if expected is not None and scale.few_controlled is not None:
        highest, share = scale.few_controlled
        words = f"is at most {highest:g} and {value / expected:.2f} {OF_CONTROL}, at most {share:g}"
        return ((min(highest, share * expected), words),)
    limit = scale.absolute if scale.absolute_few is None else scale.absolute_few
    return () if limit is None else ((limit, f"is at most {limit:g}"),)


def why_small(  # noqa: PLR0913 (a class among others, and what is known of it)
    scale: Scale,
    values: Sequence[float | None],
    class_index: int,
    unit: str,
    expected: float | None = None,
    *,
    few: bool,
) -> str | None:
    """Return in words why a class's trigger is small on its family's own scale; None where it is not.

    Args:
        scale: the family's.
        values: (K,) strengths, None where censored.
        class_index: the class in question.
        unit: of the strengths, for the words.
        expected: as in `small_limits`.
        few: as in `small_limits`.
    """
    value = values[class_index]
    if value is None:
        return None
    limits = small_limits(scale, values, class_index, expected, few=few)
    return next((f"{value:.4g} {unit} {words}" for limit, words in limits if value <= limit), None)


def large_limits(
    scale: Scale, values: Sequence[float | None], class_index: int, *, few: bool
) -> tuple[tuple[float, str], ...]:
    """Return the values from which a class's value is large, and in words how it stands to each.

    Args:
        scale: of the detector.
        values: (K,) values, none censored.
        class_index: the class in question.
        few: whether there are too few classes to compare them: then only the absolute limit counts.
    """
    value = values[class_index]
    if value is None:
        return ()
    limits: list[tuple[float, str]] = []
    absolute = scale.at_least_few if few and scale.at_least_few is not None else scale.at_least
    if absolute is not None:
        limits.append((absolute, f"is at least {absolute:g}"))
    others = [other for at, other in enumerate(values) if at != class_index and other is not None]
    if few or not others:
        return tuple(limits)
    following = max(others)
    if scale.above_runner_up is not None and following > 0:
        words = f"is {value / following:.2f} of the next class, at least {scale.above_runner_up:g}"
        if scale.least_apart is not None:
            words = f"is at least {scale.least_apart:g}, and {words.removeprefix('is ')}"
        limits.append((max(scale.above_runner_up * following, scale.least_apart or 0.0), words))
    if scale.together is not None and (median_of(values) or 0.0) >= scale.together:
        limits.append((scale.together, f"is at least {scale.together:g}, as that of half the classes is"))
    return tuple(limits)


def why_large(scale: Scale, values: Sequence[float | None], class_index: int, unit: str, *, few: bool) -> str | None:
    """Return in words why a class's value is large on the detector's own scale; None where it is not.

    Args:
        scale: of the detector.
        values: (K,) values, none censored.
        class_index: the class in question.
        unit: of the values, for the words.
        few: as in `large_limits`.
    """
    value, limits = values[class_index], large_limits(scale, values, class_index, few=few)
    if value is None:
        return None
    return next((f"{value:.4g} {unit} {words}" for limit, words in limits if value >= limit), None)
