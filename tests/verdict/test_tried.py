"""Detectors that try things out: what they tried is named, and their limit is the same whatever the other classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence import CLEAN, PLANTED, TRIED, clean, judgement, planted, scan_of, with_values

from backdoor_gate.plausible import WORKING_SUCCESS
from backdoor_gate.records import DetectorResult, Measured, Verdict
from backdoor_gate.trigger_facts import Means
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.scales import SCALES
from backdoor_gate.verdict.scores import detector_score


def judged(evidence: Measured) -> DetectorResult:
    return assess(evidence, required=True, rate=0.01, max_unmeasured=0.2)


def with_means(name: str, means: Means) -> Measured:
    found = planted(name, 7)
    return replace(found, means=tuple(means if k == 7 else each for k, each in enumerate(found.means)))


@pytest.mark.parametrize("name", TRIED)
def test_what_was_tried_is_named(name: str) -> None:
    result = judged(with_means(name, Means("dithering to 4 shades", None)))
    assert result.blocking
    assert result.suspect_classes == (7,)
    assert result.suspect_pairs == ()
    assert result.reason.startswith("class 7: dithering to 4 shades sends 100% of held-out images there, and ")
    assert f"{PLANTED[name]:.4g}" in result.reason


@pytest.mark.parametrize("name", TRIED)
def test_the_one_source_is_named(name: str) -> None:
    result = judged(with_means(name, Means("a patch", 2)))
    assert result.suspect_pairs == ((2, 7),)
    assert "a patch sends 100% of held-out images of class 2 there" in result.reason


@pytest.mark.parametrize("name", TRIED)
def test_at_the_limit_it_blocks_and_within_not(name: str) -> None:
    scale = SCALES[name]
    limit = scale.absolute or scale.least_apart or scale.at_least  # no other class comes near
    assert limit is not None
    for value, blocks in ((limit, True), (limit + (1e-6 if scale.absolute else -1e-6), False)):
        found = with_values(name, [value if k == 4 else each for k, each in enumerate(CLEAN[name])])
        assert judged(found).blocking == blocks
        score = detector_score(found)
        assert score is not None
        assert (score.value >= 0) == blocks
        assert score.target == 4


def from_one_source(values: list[float]) -> Measured:
    means = tuple(Means("a patch", (k + 1) % len(values)) for k in range(len(values)))
    return replace(with_values("patch_sweep", values), means=means)


@pytest.mark.parametrize(
    ("values", "suspects"),
    [
        ([0.4] * 9 + [1.3], (9,)),  # far before the next
        ([0.6] * 9 + [1.3], ()),
        ([0.4] * 9 + [1.1], ()),
        ([1.5] * 2 + [0.5] * 7 + [2.5], (9,)),
        ([0.5] * 4 + [1.4, 1.35, 1.4, 1.35, 1.4, 1.4], (4, 6, 8, 9, 5, 7)),  # as half of all classes are
        ([0.5] * 4 + [1.3, 1.25, 1.3, 1.25, 1.3, 1.3], ()),
        ([0.5] * 6 + [1.3] * 4, ()),
        ([0.3, 1.3], ()),  # of two classes there is no next to speak of
    ],
)
def test_pushes_of_one_class_are_compared(values: list[float], suspects: tuple[int, ...]) -> None:
    found = from_one_source(values)
    assert judged(found).suspect_classes == suspects
    score = detector_score(found)
    assert (score is not None and score.value >= 0) == bool(suspects)


@pytest.mark.parametrize("classes", [4, 10])
@pytest.mark.parametrize(("value", "blocks"), [(1.01, True), (0.99, False)])
def test_what_takes_that_pattern_and_that_class_need_not_push_far(classes: int, value: float, blocks: bool) -> None:
    found = from_one_source([0.5] * (classes - 1) + [value])
    assert not judged(found).blocking
    means = (*found.means[:-1], Means("checks", 0, particular=True))
    assert judged(replace(found, means=means)).blocking == blocks


@pytest.mark.parametrize(
    ("values", "suspects"),
    [
        ([0.5] * 8 + [1.2, 1.7], (9,)),
        ([0.5] * 8 + [1.4, 1.7], ()),  # patches that hard images make of two classes
        ([0.5] * 8 + [2.3, 2.5], (9,)),
        ([0.5] * 8 + [0.6, 1.5], ()),
        ([0.5] * 3 + [1.7], (3,)),  # of few classes there is no next to speak of
        ([0.5] * 3 + [1.5], ()),
    ],
)
def test_a_push_of_all_classes_goes_farther_than_others_or_very_far(values: list[float], suspects: tuple[int]) -> None:
    assert judged(with_values("patch_sweep", values)).suspect_classes == suspects


@pytest.mark.parametrize(("classes", "of_one"), [(10, False), (4, True)])
def test_a_push_of_all_classes_need_not_go_as_far(classes: int, of_one: bool) -> None:
    values = [0.9] * (classes - 1) + [1.7]
    assert judged(with_values("patch_sweep", values)).blocking
    assert judged(from_one_source(values)).blocking == of_one


@pytest.mark.parametrize("name", TRIED)
def test_what_moves_too_few_images_is_nothing(name: str) -> None:
    assert judged(planted(name, success=WORKING_SUCCESS)).blocking
    assert not judged(planted(name, success=WORKING_SUCCESS - 1e-6)).blocking


@pytest.mark.parametrize(
    ("values", "suspects"),
    [
        ([0.5] * 8 + [2.2, 6.7], (9,)),
        ([0.5] * 8 + [1.5, 6.3], ()),
        ([0.5] * 8 + [3.9, 6.1], ()),  # stripes that clean networks take for a lorry
        ([0.1] * 8 + [0.6, 2.1], ()),  # and those that they take for an 8
        ([0.5] * 8 + [4.1, 12.4], (9,)),
        ([0.5] * 3 + [7.0], ()),  # of few classes there is no next to speak of
    ],
)
def test_a_wave_has_to_push_far_and_farther_than_others(values: list[float], suspects: tuple[int, ...]) -> None:
    assert judged(with_values("wave_sweep", values)).suspect_classes == suspects


@pytest.mark.parametrize("name", ["corruption_probe", "patch_sweep"])
def test_of_two_classes_it_is_the_same(name: str) -> None:
    assert judged(with_values(name, [0.0, PLANTED[name]])).suspect_classes == (1,)
    assert not judged(with_values(name, list(CLEAN[name][:2]))).blocking


def test_they_take_no_share_of_the_rate() -> None:
    """Or the limits of the others would be higher for nothing: what has no outlier rule cannot break one."""
    one = decide(scan_of([clean("neural_cleanse")]), judgement())
    all_ = decide(scan_of([clean("neural_cleanse"), *map(clean, TRIED)]), judgement())
    assert all_.detectors[0].threshold == one.detectors[0].threshold
    assert all_.verdict is Verdict.PASS
