"""The rank keeps its rate, whatever the scores look like; and the bounds are those of the tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.verdict.conformal import (
    FEWEST_ALIKE,
    LEAST_COUNTED_SCORE,
    Ranked,
    likely_bound,
    references_needed,
    share_bound,
    standardised,
    standing,
)
from backdoor_gate.verdict.references import ModelKind

TEN = ModelKind(classes=10, shape=(1, 28, 28))
MANY = ModelKind(classes=43, shape=(3, 32, 32))
NAMES = ("neural_cleanse", "pair_patch", "warp_inversion")


def population(count: int, seed: int, kind: ModelKind = TEN, shift: float = 0.0) -> list[Ranked]:
    """Return clean models: correlated scores, heavy-tailed, one detector mostly without a trigger."""
    random = np.random.default_rng(seed)
    found = []
    for common, own, there in zip(
        random.normal(size=count), random.standard_t(4, (count, 3)), random.random(count) < 0.2, strict=True
    ):
        scores = dict(zip(NAMES, (-0.5 + shift + 0.1 * common + 0.15 * own).tolist(), strict=True))
        if not there:
            del scores["warp_inversion"]
        found.append(Ranked(kind, blocked=scores["neural_cleanse"] > 0, scores=scores))
    return found


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_a_clean_model_is_as_rare_as_its_p_value_says(rate: float) -> None:
    hits = [standing((models := population(60, seed))[0], models[1:]).p_value <= rate for seed in range(300)]
    assert sum(hits) <= len(hits) * rate + 3 * math.sqrt(len(hits) * rate * (1 - rate))


def test_two_kinds_are_ranked_on_what_is_left_of_both() -> None:
    """A kind whose scores are all higher stands out for no other reason."""
    models = [*population(40, 0), *population(40, 1, MANY, shift=0.25)]
    usual = Ranked(MANY, blocked=False, scores={"neural_cleanse": -0.25, "pair_patch": -0.25})
    assert standing(usual, models).p_value > 0.2
    assert standing(Ranked(TEN, blocked=False, scores=usual.scores), models).p_value < 0.2


def test_an_outlier_leads_by_its_detector() -> None:
    models = population(99, 2)
    found = standing(Ranked(TEN, blocked=False, scores={"neural_cleanse": -0.5, "pair_patch": 1.5}), models)
    blocked = sum(model.blocked for model in models)
    assert found.p_value == pytest.approx((1 + blocked) / 100)
    assert found.detector == "pair_patch"


def test_what_is_far_from_the_limits_stands_nowhere() -> None:
    """However tight the references are: a trigger within a quarter of the limits is none."""
    tight = [Ranked(TEN, blocked=False, scores={"neural_cleanse": -3.0 + index / 1000}) for index in range(99)]
    far = Ranked(TEN, blocked=False, scores={"neural_cleanse": 2 * LEAST_COUNTED_SCORE})
    assert standing(far, tight) == standing(Ranked(TEN, blocked=False, scores={}), tight)
    assert standing(far, tight).p_value == 1.0
    near = Ranked(TEN, blocked=False, scores={"neural_cleanse": LEAST_COUNTED_SCORE / 2})
    assert standing(near, tight).p_value == 0.01


@pytest.mark.parametrize("blocked", [0, 1, 5])
def test_what_the_limits_block_ranks_in_front(blocked: int) -> None:
    models = [Ranked(TEN, blocked=index < blocked, scores={"neural_cleanse": -0.3}) for index in range(99)]
    found = standing(Ranked(TEN, blocked=True, scores={"neural_cleanse": 0.1}), models)
    assert found.p_value == pytest.approx((1 + blocked) / 100)


subjects = st.lists(
    st.builds(
        Ranked,
        st.sampled_from([TEN, MANY]),
        st.booleans(),
        st.dictionaries(st.sampled_from(NAMES), st.floats(-6, 6), max_size=3),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)
@given(subjects, st.randoms())
def test_the_order_of_the_references_does_not_matter(models: list[Ranked], random: object) -> None:
    before = standing(models[0], models[1:])
    others = models[1:]
    random.shuffle(others)  # type: ignore[attr-defined]
    assert standing(models[0], others) == before
    assert 1 / len(models) <= before.p_value <= 1


@settings(deadline=None)
@given(subjects)
def test_deviations_are_numbers_or_nothing(models: list[Ranked]) -> None:
    names, deviations = standardised(models)
    assert deviations.shape == (len(models), len(names))
    assert not np.isnan(deviations).any()
    assert not np.isposinf(deviations).any()


def test_a_kind_of_its_own_is_centred_on_its_own() -> None:
    models = [*population(FEWEST_ALIKE, 3), *population(FEWEST_ALIKE, 4, MANY, shift=1.0)]
    names, deviations = standardised(models)
    at = names.index("pair_patch")
    low = np.array([model.scores["pair_patch"] >= LEAST_COUNTED_SCORE for model in models])
    assert np.median(deviations[FEWEST_ALIKE:, at]) < np.abs(deviations[low, at]).max()
    assert abs(np.median(deviations[FEWEST_ALIKE:, at])) < 0.5


def test_bounds_are_those_of_the_tables() -> None:
    assert likely_bound(99, 0.01) == pytest.approx(0.0298, abs=1e-4)
    assert likely_bound(999, 0.01) == pytest.approx(0.0157, abs=1e-4)
    assert share_bound(0, 300) == pytest.approx(0.00994, abs=1e-5)
    assert share_bound(3, 3) == share_bound(0, 0) == 1.0
    assert (references_needed(0.01, 0), references_needed(0.001, 0), references_needed(0.01, 1)) == (99, 999, 199)
