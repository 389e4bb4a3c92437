"""What is weak by nature, judged by the control: it blocks what is not explained, and excuses what is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from evidence import INVERSIONS, PAIRS, clean, innocent_pairs, judgement, planted, scan_of, with_pairs, with_values
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.plausible import STRONGEST
from backdoor_gate.records import DetectorResult, Measured, Verdict
from backdoor_gate.trigger_facts import Control
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.control import LEAST_USUAL, NATURAL_SHARE, expected_strengths
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.scales import PAIR_SCALES, SCALES
from backdoor_gate.verdict.scores import Score, model_scores

CLASS = 3
CONTROLLED = tuple(name for name in INVERSIONS if SCALES[name].of_control is not None)
FEW = tuple(name for name in INVERSIONS if SCALES[name].few_controlled is not None)


def judged(evidence: Measured) -> DetectorResult:
    return assess(evidence, required=True, rate=0.01, max_unmeasured=0.2)


def controlled(evidence: Measured, *strengths: float | None) -> Measured:
    return replace(evidence, controls=tuple(Control(None, k, value) for k, value in enumerate(strengths)))


def just_small(name: str, share: float) -> tuple[list[float], list[float | None]]:
    """Return strengths of a candidate and of a control: one class is small only as a share of the control's."""
    scale = SCALES[name]
    value = 0.9 * STRONGEST[name]
    next_class = value / (1.05 * max(scale.of_median or 0.0, scale.of_runner_up or 0.0))
    values = [next_class * 2 ** (k / 9) for k in range(10)]  # spread out, so that none is an outlier
    values[CLASS] = value
    usual: list[float | None] = [2 * other for other in values]
    usual[CLASS] = 2 * value / share
    return values, usual


# ---------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize("name", CONTROLLED)
@pytest.mark.parametrize("of_noise", [(), (CLASS,)])
def test_what_the_images_do_not_explain_blocks(name: str, of_noise: tuple[int, ...]) -> None:
    limit = SCALES[name].of_control or 0.0
    for share, blocks in ((0.9 * limit, True), (1.1 * limit, False)):
        values, usual = just_small(name, share)
        evidence = replace(with_values(name, values), noise_classes=of_noise)
        assert not judged(evidence).blocking
        result = judged(controlled(evidence, *usual))
        assert result.blocking is blocks
        assert (model_scores([controlled(evidence, *usual)])[name].value >= 0) is blocks
        if blocks:
            assert result.suspect_classes == (CLASS,)
            assert "of what a network trained on the clean images alone leads one to expect" in result.reason


@pytest.mark.parametrize("name", CONTROLLED)
def test_what_is_weak_by_nature_does_not_block(name: str) -> None:
    """The control is as weak there as the candidate; that it is twice as strong everywhere else changes nothing."""
    evidence = planted(name, CLASS)
    assert judged(evidence).blocking
    for of_usual, blocks in ((1.05 * NATURAL_SHARE, False), (0.95 * NATURAL_SHARE, True)):
        usual = [2 * (value or 0.0) for value in evidence.values]
        usual[CLASS] /= of_usual
        result = judged(controlled(evidence, *usual))
        assert result.blocking is blocks
        assert (model_scores([controlled(evidence, *usual)])[name].value >= 0) is blocks
        assert result.expected[CLASS] == pytest.approx((evidence.values[CLASS] or 0.0) / of_usual)


def test_a_natural_trigger_bears_out_no_margin() -> None:
    margins = [20.0] * 10
    margins[CLASS] = 50.0
    margin, trigger = with_values("max_margin", margins), planted("neural_cleanse", CLASS)
    names = ("max_margin", "neural_cleanse")
    assert decide(scan_of([margin, trigger]), judgement(names)).verdict is Verdict.BLOCK
    found = decide(scan_of([margin, controlled(trigger, *trigger.values)]), judgement(names))
    assert found.verdict is Verdict.PASS
    assert "max_margin" in " ".join(found.reasons)
    assert "max_margin" not in model_scores([margin, controlled(trigger, *trigger.values)])


@pytest.mark.parametrize(("usual", "blocks"), [(1.1 * LEAST_USUAL, False), (0.4 * LEAST_USUAL, True)])
def test_triggers_in_most_classes_do_not_excuse_the_one_that_bears_out_a_margin(usual: float, blocks: bool) -> None:
    """Each is what the median of them leads one to expect; below LEAST_USUAL of the control's that is no excuse."""
    margins, triggers = [20.0] * 10, [0.02 + 0.001 * k for k in range(10)]  # none small enough to block by itself
    margins[CLASS], triggers[CLASS] = 50.0, 0.015
    margin = with_values("max_margin", margins)
    trigger = controlled(with_values("neural_cleanse", triggers), *[value / usual for value in triggers])
    assert not judged(trigger).blocking
    decision = decide(scan_of([margin, trigger]), judgement(("max_margin", "neural_cleanse")))
    assert (decision.verdict is Verdict.BLOCK) is blocks
    assert (model_scores([margin, trigger]).get("max_margin", Score(-1.0, CLASS)).value >= 0) is blocks


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("classes", [2, 5])
def test_few_classes_are_compared_with_the_control_itself(name: str, classes: int) -> None:
    highest, limit = SCALES[name].few_controlled or (0.0, 0.0)
    others = [10 * highest] * (classes - 1)
    for value, share, blocks in (
        (0.9 * highest, 0.9 * limit, True),
        (0.9 * highest, 1.1 * limit, False),
        (1.1 * highest, 0.5 * limit, False),
    ):
        evidence = with_values(name, [value, *others])
        assert judged(controlled(evidence, value / share, *others)).blocking is blocks


def test_few_classes_without_a_control_have_the_stricter_limit() -> None:
    scale = SCALES["neural_cleanse"]
    assert scale.absolute_few is not None
    for value, blocks in ((0.95 * scale.absolute_few, True), (1.05 * scale.absolute_few, False)):
        assert judged(with_values("neural_cleanse", [value, 0.2])).blocking is blocks


# ---------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_the_images_do_not_explain(name: str) -> None:
    """Three pairs of one target fade into the usual ones, so that none stands apart; one of them has no excuse."""
    scale, company = PAIR_SCALES[name], ((0, CLASS), (1, CLASS), (2, CLASS), (4, CLASS))
    share = max(1.3 * scale.alone, 0.9 * math.sqrt(scale.apart))
    weak = [
        replace(pair, strength=pair.strength * share)
        if (pair.source, pair.target) in company and pair.strength
        else pair
        for pair in innocent_pairs(0.01)
    ]
    evidence = with_pairs(name, weak)
    assert not judged(evidence).blocking
    for of_usual, blocks in ((0.7 * scale.controlled / share, True), (1.4 * scale.controlled / share, False)):
        controls = [
            Control(
                pair.source,
                pair.target,
                2 * pair.strength / (of_usual if (pair.source, pair.target) == company[0] else 1.0),
            )
            for pair in weak[::3] + [pair for pair in weak if (pair.source, pair.target) == company[0]]
            if pair.strength
        ]
        unique = {(each.source, each.target): each for each in controls}
        result = judged(replace(evidence, controls=tuple(unique.values())))
        assert result.blocking is blocks, result.reason
        if blocks:
            assert result.suspect_pairs == (company[0],)
            assert "leads one to expect, together" in result.reason


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_is_close_by_nature_does_not_block(name: str) -> None:
    close = [
        replace(pair, strength=pair.strength * 0.5 * PAIR_SCALES[name].alone)
        if (pair.source, pair.target) == (7, 3) and pair.strength
        else pair
        for pair in innocent_pairs(0.02)
    ]
    evidence = with_pairs(name, close)
    assert judged(evidence).blocking
    controls = tuple(Control(pair.source, pair.target, 2 * (pair.strength or 0.0)) for pair in close)
    assert not judged(replace(evidence, controls=controls)).blocking


# ---------------------------------------------------------------------------------------------- what is expected


@given(st.lists(st.floats(0.01, 10), min_size=6, max_size=12), st.floats(0.1, 10))
def test_a_stronger_network_is_no_excuse(strengths: list[float], factor: float) -> None:
    """All of the control's strengths times any number: the same is expected of the candidate."""
    own: dict[tuple[int | None, int], float | None] = {(None, k): 1.0 + k for k in range(len(strengths))}
    controls = [Control(None, k, value) for k, value in enumerate(strengths)]
    scaled = [replace(each, strength=(each.strength or 0.0) * factor) for each in controls]
    assert expected_strengths(own, scaled) == pytest.approx(expected_strengths(own, controls))


def test_what_the_control_has_no_trigger_for_is_at_least_as_hard() -> None:
    controls = [Control(None, 0, 0.5), Control(None, 1, None), Control(None, 2, 0.25)]
    found = expected_strengths({(None, 0): 1.0, (None, 1): 1.0, (None, 2): None}, controls)
    assert found == {(None, 0): 0.5, (None, 1): 0.5}
    assert expected_strengths({(None, 1): 1.0}, controls[1:2]) == {}


def test_without_a_control_nothing_is_expected() -> None:
    assert judged(clean("neural_cleanse")).expected == ()


def test_triggers_in_all_classes_do_not_excuse_each_other() -> None:
    """Each is what the median of them leads one to expect, and far below what the control needs."""
    evidence = with_values("neural_cleanse", [0.004 + 0.0001 * k for k in range(10)])
    result = judged(controlled(evidence, *[0.06] * 10))
    assert result.blocking
    assert len(result.suspect_classes) == 10
    assert not judged(controlled(evidence, *[0.006] * 10)).blocking
