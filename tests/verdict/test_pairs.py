"""Pairs of classes: a planted one is told from classes that are close by nature."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evidence import PAIRS, innocent_pairs, with_pairs
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.records import DetectorResult, Measured, Status
from backdoor_gate.trigger_facts import Confirmation, Pair
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.pair_residuals import best_map, residuals, slope
from backdoor_gate.verdict.scales import PAIR_SCALES
from backdoor_gate.verdict.scores import detector_score


def judged(evidence: Measured) -> DetectorResult:
    return assess(evidence, required=True, rate=0.01, max_unmeasured=0.2)


def weakened(pairs: list[Pair], share: float, *ways: tuple[int, int], success: float = 1.0) -> list[Pair]:
    """Plant triggers: the same pairs with some strengths at a share of what they were."""
    return [
        replace(pair, strength=pair.strength * share, success=success)
        if pair.strength and (pair.source, pair.target) in ways
        else pair
        for pair in pairs
    ]


TO_THE_NEXT = tuple((k, (k + 1) % 10) for k in range(10))


@pytest.mark.parametrize("name", PAIRS)
def test_an_innocent_network(name: str) -> None:
    result = judged(with_pairs(name, innocent_pairs(0.02)))
    assert result.status is Status.MEASURED
    assert not result.blocking
    assert result.suspect_pairs == result.suspect_classes == ()
    assert result.reason == "no pair of classes stands out"
    assert len(result.pairs) == 90


@pytest.mark.parametrize("name", PAIRS)
def test_one_planted_pair(name: str) -> None:
    planted = weakened(innocent_pairs(0.02), 0.5 * PAIR_SCALES[name].alone, (7, 3))
    result = judged(with_pairs(name, planted))
    assert result.blocking
    assert result.suspect_pairs == ((7, 3),)
    assert result.suspect_classes == (3,)
    least = result.pairs[int(np.argmin(result.shares))]
    assert (least.source, least.target) == (7, 3)
    assert min(result.shares) == pytest.approx(0.5 * PAIR_SCALES[name].alone, rel=0.3)
    assert len(result.shares) == len(result.pairs)
    assert result.reason.startswith("7→3: its trigger moves 100% of the source's held-out images, and ")


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_nothing_follows_may_be_a_little_stronger(name: str) -> None:
    """Natural pairs come in company: the same share in four pairs of one target is none that stands apart."""
    share, company = 1.2 * PAIR_SCALES[name].alone, ((0, 3), (1, 3), (2, 3), (4, 3))
    single = judged(with_pairs(name, weakened(innocent_pairs(0.005), share, (7, 3))))
    assert single.blocking
    assert single.suspect_pairs == ((7, 3),)
    assert "of what follows, together" in single.reason
    assert not judged(with_pairs(name, weakened(innocent_pairs(0.005), share, *company))).blocking


@pytest.mark.parametrize("name", PAIRS)
def test_on_synthetic_images_no_pair_counts_by_a_warp_alone(name: str) -> None:
    evidence = with_pairs(name, weakened(innocent_pairs(0.02), 0.5 * PAIR_SCALES[name].alone, (7, 3)))
    assert judged(evidence).blocking
    synthetic = replace(evidence, verified=False)
    assert judged(synthetic).blocking == (name != "pair_warp")
    score = detector_score(synthetic)
    assert score is not None
    assert (score.value > 0) == (name != "pair_warp")


@pytest.mark.parametrize("name", ["pair_patch", "pair_spectral"])
def test_a_pair_by_itself_must_be_small_at_both_looks(name: str) -> None:
    """Boots become bags: one natural pair in a hundred is as far below the others as a planted one."""
    scale, share = PAIR_SCALES[name], 0.5 * PAIR_SCALES[name].alone
    for size, blocks in ((0.9, True), (1.1, False)):
        first = size * scale.single
        pairs = [
            replace(pair, strength=first) if (pair.source, pair.target) == (7, 3) else pair
            for pair in innocent_pairs(first / share)
        ]
        assert judged(with_pairs(name, pairs)).blocking is blocks
    first = 0.8 * scale.single
    pairs = [
        replace(pair, strength=first) if (pair.source, pair.target) == (7, 3) else pair
        for pair in innocent_pairs(first / share)
    ]
    for again, blocks in ((0.9, True), (1.1, False)):
        look = Confirmation(7, 3, again * scale.single, 1.0, 0.1)
        found = judged(replace(with_pairs(name, pairs), confirmations=(look,)))
        assert found.blocking is blocks
        assert found.suspect_pairs == ((7, 3),)


@pytest.mark.parametrize("name", PAIRS)
def test_a_planted_map_too_weak_to_stand_out_pair_by_pair(name: str) -> None:
    share = PAIR_SCALES[name].together * 0.8
    assert share > PAIR_SCALES[name].alone
    result = judged(with_pairs(name, weakened(innocent_pairs(0.01), share, *TO_THE_NEXT)))
    assert result.blocking
    assert set(result.suspect_pairs) <= set(TO_THE_NEXT)
    assert len(result.suspect_pairs) >= 8
    assert "of the usual strength" in result.reason


def test_two_close_classes_are_no_backdoor() -> None:
    """The weakest pairs by far, but no weaker than their closeness explains."""
    pairs = [
        replace(pair, strength=pair.strength * 0.1**0.7, lead=pair.lead * 0.1)
        if {pair.source, pair.target} == {3, 5} and pair.strength
        else pair
        for pair in innocent_pairs(0.02)
    ]
    weakest = min(pairs, key=lambda pair: pair.strength or math.inf)
    assert {weakest.source, weakest.target} == {3, 5}
    assert not judged(with_pairs("pair_patch", pairs)).blocking


def test_a_trigger_that_fails_on_held_out_images_does_not_count() -> None:
    planted = weakened(innocent_pairs(0.02), 0.1, (7, 3), success=0.5)
    assert not judged(with_pairs("pair_patch", planted)).blocking


def test_unmeasured_success_does_not_count() -> None:
    planted = [replace(pair, success=None) for pair in weakened(innocent_pairs(0.02), 0.1, (7, 3))]
    assert not judged(with_pairs("pair_patch", planted)).blocking


def test_no_pairs_are_no_evidence() -> None:
    result = judged(with_pairs("pair_patch", ()))
    assert result.status is Status.INCONCLUSIVE
    assert result.reason == "no pair of classes was measured"


@pytest.mark.parametrize(
    ("name", "sources", "status"),
    [
        ("pair_patch", 4, Status.MEASURED),
        ("pair_patch", 6, Status.INCONCLUSIVE),
        ("pair_spectral", 6, Status.INCONCLUSIVE),
        ("pair_warp", 6, Status.MEASURED),
    ],
)
def test_censored_pairs(name: str, sources: int, status: Status) -> None:
    pairs = [replace(pair, strength=None) if pair.source < sources else pair for pair in innocent_pairs(0.02)]
    result = judged(with_pairs(name, pairs))
    assert result.status is status
    assert not result.blocking


def test_warps_that_never_work_are_measured() -> None:
    pairs = [replace(pair, strength=None, success=0.0) for pair in innocent_pairs(0.02)]
    assert judged(with_pairs("pair_warp", pairs)).reason == "most classes cannot be moved to one another at all"


@given(st.floats(0.0, 2.0), st.floats(-3, 3))
def test_the_slope_of_a_line(inclination: float, offset: float) -> None:
    x = np.linspace(0, 2, 30)
    assert slope(x, inclination * x + offset) == pytest.approx(inclination, abs=1e-6)


def test_the_slope_of_a_point_is_none() -> None:
    assert slope(np.ones(5), np.arange(5.0)) == 0


@given(st.permutations(range(10)), st.floats(0.01, 100.0), st.floats(0.1, 10.0))
def test_neither_names_nor_units_matter(order: list[int], unit: float, scale: float) -> None:
    """Classes by other numbers, strengths in another unit and logits on another scale: the same residuals."""
    pairs = weakened(innocent_pairs(0.02), 0.2, (7, 3))
    other = [
        Pair(order[p.source], order[p.target], (p.strength or 0.0) * unit, p.success, p.lead * scale) for p in pairs
    ]
    plain, changed = residuals(pairs), residuals(other)
    assert plain is not None
    assert changed is not None
    assert changed.values == pytest.approx(plain.values, abs=1e-6)


def test_the_best_map_uses_no_target_twice() -> None:
    pairs = weakened(innocent_pairs(0.02), 0.1, (1, 0), (2, 0), (3, 4))
    found = residuals(pairs)
    assert found is not None
    chosen, mean = best_map(pairs, found)
    targets = [pairs[position].target for position in chosen]
    assert len(set(targets)) == len(targets)
    assert mean < 0
