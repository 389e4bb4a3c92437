"""One detector's evidence, judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from evidence import CLEAN, INVERSIONS, PLANTED, clean, planted, with_values
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.plausible import WORKING_SUCCESS
from backdoor_gate.records import Cost, DetectorResult, Evidence, Inconclusive, Measured, NotApplicable, Status
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.limits import large_excesses, small_excesses
from backdoor_gate.verdict.scales import PAIR_SCALES, SCALES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.verdict.scales import Scale


def judged(evidence: Evidence, rate: float = 0.01, max_unmeasured: float = 0.2) -> DetectorResult:
    return assess(evidence, required=True, rate=rate, max_unmeasured=max_unmeasured)


def test_every_detector_of_the_pack_has_a_scale() -> None:
    assert set(SCALES) | set(PAIR_SCALES) == set(BY_NAME)
    assert not set(SCALES) & set(PAIR_SCALES)


@pytest.mark.parametrize("name", SCALES)
def test_an_innocent_network(name: str) -> None:
    result = judged(clean(name))
    assert result.status is Status.MEASURED
    assert not result.blocking
    assert result.suspect_classes == ()
    assert result.reason == "no class stands out"
    assert result.anomaly_index is not None
    assert result.threshold is None or result.anomaly_index < result.threshold
    assert (result.threshold is not None) == SCALES[name].outliers
    assert result.per_class == CLEAN[name]
    assert result.unit == BY_NAME[name].unit


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_planted_trigger(name: str) -> None:
    result = judged(planted(name, 7))
    assert result.blocking
    assert result.suspect_classes == (7,)
    assert result.reason.startswith("class 7: its trigger sends 100% of held-out images there, and ")
    assert f"{PLANTED[name]:.4g}" in result.reason


def test_synthetic_probes_are_named_as_such() -> None:
    evidence = planted("neural_cleanse")
    unverified = Measured(evidence.detector, evidence.values, evidence.success, verified=False)
    assert "synthetic probes (not verified)" in judged(unverified).reason


def test_two_planted_triggers_come_the_most_extreme_first() -> None:
    values = list(CLEAN["neural_cleanse"])
    values[2], values[8] = 0.009, 0.004
    assert judged(with_values("neural_cleanse", values)).suspect_classes == (8, 2)


@pytest.mark.parametrize("name", INVERSIONS)
@given(values=st.lists(st.none() | st.floats(1e-6, 50), min_size=2, max_size=14), data=st.data())
def test_a_trigger_that_fails_on_held_out_images_is_none(
    name: str, values: list[float | None], data: st.DataObject
) -> None:
    failing = st.none() | st.floats(0, WORKING_SUCCESS, exclude_max=True)
    rates = data.draw(st.lists(failing, min_size=len(values), max_size=len(values)))
    result = judged(Measured(name, tuple(values), success=tuple(rates), verified=True))
    assert not result.blocking
    assert result.suspect_classes == ()


@pytest.mark.parametrize("name", ["max_margin", "final_layer"])
@given(values=st.lists(st.floats(-50, 500), min_size=2, max_size=14))
def test_what_has_no_trigger_never_blocks(name: str, values: list[float]) -> None:
    assert not judged(with_values(name, values)).blocking


@pytest.mark.parametrize("name", INVERSIONS)
@given(values=st.lists(st.none() | st.floats(1e-6, 50), min_size=2, max_size=5))
def test_up_to_five_classes_the_absolute_scale_alone_counts(name: str, values: list[float | None]) -> None:
    result = judged(with_values(name, values))
    absolute = SCALES[name].absolute_few or SCALES[name].absolute
    small = [k for k, v in enumerate(values) if v is not None and absolute is not None and v <= absolute]
    assert sorted(result.suspect_classes) == small
    assert result.threshold is None
    assert result.anomaly_index is None


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_share_of_censored_classes_is_no_evidence(name: str) -> None:
    """Only one class can be reached at all, and not by a trigger that is small by itself."""
    value = 2 * (SCALES[name].absolute or 0.1)
    result = judged(with_values(name, [None] * 4 + [value] + [None] * 5), max_unmeasured=0.99)
    assert result.suspect_classes == ()


# ---------------------------------------------------------------------------------------------- missing evidence


def test_what_was_not_measured() -> None:
    crashed = judged(Inconclusive("max_margin", "ValueError: x", Cost(2.0, 5)))
    assert (crashed.status, crashed.reason, crashed.cost) == (Status.INCONCLUSIVE, "ValueError: x", Cost(2.0, 5))
    odd = judged(NotApplicable("final_layer", "no layer"))
    assert (odd.status, odd.reason) == (Status.NOT_APPLICABLE, "no layer")


@pytest.mark.parametrize(
    ("censored", "status"), [(2, Status.MEASURED), (3, Status.INCONCLUSIVE), (10, Status.INCONCLUSIVE)]
)
def test_too_many_censored_classes(censored: int, status: Status) -> None:
    values = [None] * censored + list(CLEAN["neural_cleanse"][censored:])
    result = judged(with_values("neural_cleanse", values), max_unmeasured=0.2)
    assert result.status is status
    assert result.unmeasured == tuple(range(censored))
    if status is Status.INCONCLUSIVE:
        assert result.reason == f"no trigger reached {censored} of 10 classes ({censored}0%, at most 20%)"


def test_most_warps_reach_no_class_and_that_is_fine() -> None:
    assert judged(with_values("warp_inversion", [None] * 10)).status is Status.MEASURED


@pytest.mark.parametrize("name", INVERSIONS)
def test_classes_that_cannot_be_replayed_are_not_measured(name: str) -> None:
    """A handful of clean images would otherwise let every trigger through."""
    result = judged(with_values(name, planted(name).values, success=None))
    assert result.status is Status.INCONCLUSIVE
    assert result.reason == "too few held-out images to replay the triggers of 10 of 10 classes"


def test_a_planted_trigger_counts_even_where_most_classes_are_censored() -> None:
    values = [None] * 9 + [0.004]
    assert judged(with_values("neural_cleanse", values)).blocking


# ---------------------------------------------------------------------------------------------- the outlier rule


def test_the_outlier_rule_alone() -> None:
    """A weight score far above the others is suspect by its index, on its own logarithmic scale."""
    values = [*CLEAN["final_layer"][:9], 2.5]
    result = judged(with_values("final_layer", values))
    assert result.suspect_classes == (9,)
    assert result.anomaly_index > result.threshold
    assert "anomaly index" in result.reason


def test_a_stricter_rate_needs_a_larger_index() -> None:
    assert judged(clean("neural_cleanse"), rate=0.001).threshold > judged(clean("neural_cleanse"), rate=0.05).threshold


def is_small(scale: Scale, values: Sequence[float | None], at: int) -> bool:
    return any(each.counts for each in small_excesses(scale, values, at, few=False))


def is_large(scale: Scale, values: Sequence[float | None], at: int, *, few: bool) -> bool:
    return any(each.counts for each in large_excesses(scale, values, at, few=few))


@given(st.lists(st.none() | st.floats(1e-3, 10), min_size=6, max_size=12), st.integers(0, 5), st.floats(0.01, 1))
def test_a_weaker_trigger_is_never_less_suspect(values: list[float | None], at: int, factor: float) -> None:
    """Shrinking a class's value keeps it suspect on the scales; the outlier rule's median moves with it."""
    for name in INVERSIONS:
        scale, value = SCALES[name], values[at]
        if value is None or not is_small(scale, values, at):
            continue
        shrunk = [*values[:at], value * factor, *values[at + 1 :]]
        assert is_small(scale, shrunk, at)


def test_a_margin_is_large_against_the_next_class_only() -> None:
    scale = SCALES["max_margin"]
    assert scale.above_runner_up is not None
    large = 20 * scale.above_runner_up
    assert is_large(scale, [20.0, 10.0, large, None], 2, few=False)
    assert not is_large(scale, [20.0, 10.0, large * 0.99, None], 2, few=False)
    assert not is_large(scale, [20.0, large], 1, few=True)
    assert not is_large(scale, [-20.0, -1.0], 1, few=False)
    assert not is_large(scale, [None, 5.0], 1, few=False)


def test_where_the_classes_happen_to_lie_close_an_ordinary_one_does_not_block() -> None:
    """Those of a clean network for CIFAR-10, whose last class has an index of 21 in its own MAD."""
    values = [2.858, 1.163, 2.074, 2.125, 2.079, 2.151, 1.032, 2.133, 2.002, 0.624]
    assert not judged(with_values("ground_inversion", values), rate=0.01 / 6).blocking  # six have an index
