"""The anomaly index and its null, against independent implementations and the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from backdoor_gate.verdict.statistics import critical_value, median_of, outlier, p_value, runner_up

NUMBERS = st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=6, max_size=60)


def scipy_index(values: list[float], *, small: bool) -> float:
    array = np.array(values)
    deviation = (np.median(array) - array) if small else (array - np.median(array))
    return float(deviation.max() / median_abs_deviation(array, scale="normal"))


@given(NUMBERS, st.booleans())
def test_the_index_is_the_one_of_the_literature(values: list[float], small: bool) -> None:
    found = outlier(values, small=small)
    if median_abs_deviation(values) == 0:
        assert found is None
        return
    assert found is not None
    assert found.index == pytest.approx(scipy_index(values, small=small), rel=1e-4)
    assert values[found.class_index] == (min(values) if small else max(values))
    assert found.p_value == p_value(found.index, len(values))


def test_classes_that_happen_to_lie_close_make_no_outlier_of_an_ordinary_one() -> None:
    """Of a clean network for CIFAR-10: the last is 0.3 of the median class, which is no limit's, at an index of 21."""
    values = np.log([2.858, 1.163, 2.074, 2.125, 2.079, 2.151, 1.032, 2.133, 2.002, 0.624]).tolist()
    narrow, wide = outlier(values, small=True), outlier(values, small=True, least_spread=0.2)
    assert narrow is not None
    assert wide is not None
    assert narrow.index > critical_value(10, 0.001) > wide.index
    assert wide.class_index == narrow.class_index == 9


@given(NUMBERS, st.floats(0, 9))
def test_a_least_spread_never_raises_the_index(values: list[float], least: float) -> None:
    found, floored = outlier(values, small=True), outlier(values, small=True, least_spread=least)
    assert (found is None) == (floored is None)
    if found is not None and floored is not None:
        assert 0 <= floored.index <= found.index


@given(NUMBERS)
def test_censoring_large_values_leaves_the_index_alone(values: list[float]) -> None:
    middle = np.median(values)
    far = sorted(abs(np.subtract(values, middle)))[len(values) // 2]  # the MAD, or the upper of the two it lies between
    censored = [None if value - middle > far else value for value in values]
    assert outlier(censored, small=True) == outlier(values, small=True)


@given(NUMBERS, st.integers(0, 15))
def test_censoring_the_largest_never_raises_the_index(values: list[float], hidden: int) -> None:
    order = sorted(range(len(values)), key=lambda k: values[k])
    censored = [None if k in order[max(1, len(order) - hidden) :] else value for k, value in enumerate(values)]
    found, whole = outlier(censored, small=True), outlier(values, small=True)
    if found is not None and whole is not None:
        assert found.index <= whole.index


@given(NUMBERS, st.floats(0.1, 9), st.floats(-9, 9))
def test_the_index_knows_no_unit(values: list[float], factor: float, shift: float) -> None:
    one, other = outlier(values, small=True), outlier([factor * v + shift for v in values], small=True)
    if one is None or other is None or median_abs_deviation(values) < 1e-2:
        return
    assert other.index == pytest.approx(one.index, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "small"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], True),  # too few
        ([1.0] * 8, True),  # no spread
        ([1.0, 2.0, 3.0, None, None, None], True),  # the median is censored
        ([1.0, 2.0, 3.0, 4.0, 5.0, None], False),  # the most extreme is censored
        ([], True),
    ],
)
def test_where_the_index_is_undefined(values: list[float | None], small: bool) -> None:
    assert outlier(values, small=small) is None


# ---------------------------------------------------------------------------------------------- the null

SIMULATED = {
    8: (4.1, 6.8),
    10: (3.88, 6.03),
    20: (3.58, 4.75),
    43: (3.50, 4.30),
    100: (3.52, 4.04),
    200: (3.60, 4.07),
}
"""Critical values at 5 % and 1 % of an earlier, independent simulation of the same null."""


@pytest.mark.parametrize("classes", SIMULATED)
def test_critical_values(classes: int) -> None:
    five, one = SIMULATED[classes]
    assert critical_value(classes, 0.05) == pytest.approx(five, rel=0.02)
    assert critical_value(classes, 0.01) == pytest.approx(one, rel=0.02)


def test_between_tabulated_numbers_of_classes_the_value_lies_between() -> None:
    low, between, high = (critical_value(classes, 0.01) for classes in (500, 700, 1000))
    assert low < between < high
    assert critical_value(5000, 0.01) == critical_value(1000, 0.01)


@pytest.mark.parametrize("classes", [6, 7, 10, 33, 43, 57, 101, 130])
def test_clean_networks_are_flagged_as_often_as_promised(classes: int) -> None:
    """Lognormal strengths, a network per row; between tabulated class counts the promise holds too."""
    random, runs = np.random.default_rng(classes), 40_000
    logs = np.log(random.lognormal(-2.0, 0.6, (runs, classes)))
    middle = np.median(logs, axis=1, keepdims=True)
    indices = (middle[:, 0] - logs.min(axis=1)) / (1.4826 * np.median(np.abs(logs - middle), axis=1))
    for rate in (0.05, 0.01):
        flagged = float((indices > critical_value(classes, rate)).mean())
        noise = 4 * math.sqrt(rate / runs)
        assert flagged == pytest.approx(rate, rel=0.08, abs=noise)
    assert outlier(list(logs[0]), small=True).index == pytest.approx(indices[0])


@given(st.integers(3, 3000), st.floats(1e-4, 0.5))
def test_p_value_and_critical_value_undo_each_other(classes: int, rate: float) -> None:
    assert p_value(critical_value(classes, rate), classes) == pytest.approx(rate, rel=1e-6)


@given(st.integers(3, 3000), st.floats(-100, 1000), st.floats(-100, 1000))
def test_a_larger_index_is_never_likelier(classes: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 1 >= p_value(low, classes) >= p_value(high, classes) >= 1e-4 * (1 - 1e-9)


@given(st.integers(3, 3000), st.floats(1e-9, 0.5), st.floats(1e-9, 0.5))
def test_a_stricter_rate_never_lowers_the_bar(classes: int, one: float, other: float) -> None:
    strict, lax = sorted((one, other))
    assert critical_value(classes, strict) >= critical_value(classes, lax) > 0


# ---------------------------------------------------------------------------------------------- median, runner-up


@given(st.lists(st.none() | st.floats(0, 9), max_size=15))
def test_median_counts_censored_values_as_the_largest(values: list[float | None]) -> None:
    known, found = sorted(v for v in values if v is not None), median_of(values)
    if 2 * len(known) <= len(values):
        assert found is None
        return
    filled = [1e9 if v is None else v for v in values]
    assert found == (None if np.median(filled) >= 1e8 else pytest.approx(np.median(filled)))


def test_runner_up() -> None:
    assert runner_up([3.0, 1.0, 2.0, None], 1) == 2.0
    assert runner_up([3.0, 1.0, 2.0, None], 0) == 1.0
    assert runner_up([3.0, None, None], 0) is None
    assert runner_up([3.0], 0) is None
