"""Scores speak the language of the limits: above zero is what blocks, and nothing but the evidence moves them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence import (
    CLEAN,
    INVERSIONS,
    PAIRS,
    PLANTED,
    anything,
    clean,
    innocent_pairs,
    planted,
    with_pairs,
    with_values,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backdoor_gate.catalogue import FEWEST_COMPARED
from backdoor_gate.plausible import STRONGEST
from backdoor_gate.records import Inconclusive, Measured
from backdoor_gate.trigger_facts import Confirmation
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.corroborate import corroborate
from backdoor_gate.verdict.references import FARTHEST
from backdoor_gate.verdict.scores import INDEX_RATE, Score, detector_score, model_scores

strengths = st.floats(1e-3, 100)
vectors = st.integers(2, 12).flatmap(lambda classes: st.lists(strengths, min_size=classes, max_size=classes))


def blocks(evidence: Measured) -> bool:
    return assess(evidence, required=True, rate=INDEX_RATE, max_unmeasured=1.0).blocking


@pytest.mark.parametrize("name", [*INVERSIONS, *PAIRS])
def test_a_clean_network_is_within_the_limits(name: str) -> None:
    found = detector_score(clean(name))
    assert found is None or -FARTHEST < found.value < 0
    assert (found is None) == (name == "pair_spectral"), "its pairs are all stronger than any that counts"


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_planted_class_is_beyond_them_and_named(name: str) -> None:
    found = detector_score(planted(name, 3))
    assert found is not None
    assert (found.value > 0.3, found.target, found.source) == (True, 3, None)


def test_a_planted_pair_is_beyond_them_and_named() -> None:
    pairs = [replace(p, strength=0.002) if (p.source, p.target) == (4, 7) else p for p in innocent_pairs(0.02)]
    found = detector_score(with_pairs("pair_patch", pairs))
    assert found is not None
    assert (found.value > 0.3, found.source, found.target) == (True, 4, 7)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(INVERSIONS), st.integers(2, 12), st.data())
def test_above_zero_is_what_blocks(name: str, classes: int, data: st.DataObject) -> None:
    evidence = data.draw(anything(name, classes))
    assume(isinstance(evidence, Measured))
    found = detector_score(evidence)
    assume(found is None or abs(found.value) > 1e-9)
    assert blocks(evidence) == (found is not None and found.value > 0)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(INVERSIONS), vectors, st.floats(0.1, 1))
def test_a_weaker_trigger_of_the_weakest_class_never_lowers_a_score(
    name: str, values: list[float], share: float
) -> None:
    weakest = values.index(min(values))
    before = detector_score(with_values(name, values))
    values[weakest] *= share
    after = detector_score(with_values(name, values))
    assert before is None or (after is not None and after.value >= before.value - 1e-9)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(INVERSIONS), vectors, st.randoms())
def test_the_order_of_the_classes_does_not_matter(name: str, values: list[float], random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    before = detector_score(with_values(name, values))
    after = detector_score(with_values(name, [values[k] for k in order]))
    assert (before is None) == (after is None)
    assert before is None or after is None or before.value == pytest.approx(after.value)


@given(st.lists(strengths, min_size=FEWEST_COMPARED, max_size=12), st.floats(0.1, 10))
def test_shares_and_indices_are_free_of_units(values: list[float], factor: float) -> None:
    """As long as none is stronger than anything an attacker would plant."""
    values = [value * STRONGEST["spectral_inversion"] / (10 * max(values)) for value in values]
    before = detector_score(with_values("spectral_inversion", values))
    after = detector_score(with_values("spectral_inversion", [value * factor for value in values]))
    assert (before is None) == (after is None)
    assert before is None or after is None or before.value == pytest.approx(after.value, abs=1e-6)


def test_a_trigger_that_does_not_work_has_no_score() -> None:
    assert detector_score(planted("neural_cleanse", success=0.5)) is None
    assert detector_score(with_values("neural_cleanse", [None] * 10)) is None
    assert model_scores([Inconclusive("neural_cleanse", "crashed")]) == {}


def test_a_trigger_that_is_not_found_again_is_no_longer_the_score() -> None:
    luck = replace(planted("neural_cleanse", 3), confirmations=(Confirmation(None, 3, None, None, None),))
    found = detector_score(luck)
    assert found is not None
    assert found.value < 0
    assert found.target != 3


def test_a_margin_counts_for_what_a_trigger_bears_out() -> None:
    margins = with_values("max_margin", [120.0 if k == 3 else value for k, value in enumerate(CLEAN["max_margin"])])
    alone = detector_score(margins)
    assert alone is not None
    assert alone.value > 0
    assert model_scores([margins]) == {}, "without a trigger it only informs"
    borne_out = model_scores([margins, planted("spectral_inversion", 3)])["max_margin"]
    assert borne_out == alone
    trigger = with_values("spectral_inversion", [0.05 if k == 5 else 0.2 for k in range(10)])
    elsewhere = model_scores([margins, trigger])["max_margin"]
    assert elsewhere.value < 0
    stronger = replace(trigger, values=tuple(2 * (value or 0.0) for value in trigger.values))
    assert "max_margin" not in model_scores([margins, stronger]), "too strong to bear out anything"
    evidence = (margins, trigger)
    results = [assess(each, required=True, rate=INDEX_RATE, max_unmeasured=0.2) for each in evidence]
    assert not corroborate(results, evidence)[0].blocking


def test_weights_alone_have_no_score_that_could_block() -> None:
    assert model_scores([clean("final_layer")]) == {}
    assert detector_score(clean("final_layer")) is not None


def test_scores_are_bounded() -> None:
    values = [PLANTED["neural_cleanse"] * 1e-30 if k == 3 else value for k, value in enumerate(CLEAN["neural_cleanse"])]
    assert detector_score(with_values("neural_cleanse", values)) == Score(FARTHEST, 3)
