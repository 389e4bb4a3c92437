"""Two detectors near their limits by the same class count as one beyond them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence import CLEAN, clean, judgement, planted, scan_of, with_values

from backdoor_gate.records import Decision, Measured, Verdict
from backdoor_gate.trigger_facts import Confirmation
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.scales import SCALES
from backdoor_gate.verdict.scores import NEAR_LIMIT_FACTOR, model_scores

TWO = ("corruption_probe", "patch_sweep")
"""Their limits are the same whatever the other classes, where none comes near."""


def limit_of(name: str) -> float:
    limit = SCALES[name].least_apart or SCALES[name].at_least
    assert limit is not None
    return limit


def near(name: str, class_index: int = 4, within: float = 1.1, success: float = 1.0) -> Measured:
    """Return a measurement with one class so many times below the detector's limit."""
    value = limit_of(name) / within
    return with_values(name, [value if k == class_index else v for k, v in enumerate(CLEAN[name])], success=success)


def decided(*evidence: Measured) -> Decision:
    return decide(scan_of(evidence), judgement())


def test_two_that_point_at_one_class_block_together() -> None:
    first, second = (near(name) for name in TWO)
    decision = decided(first, second, clean("warp_inversion"))
    assert decision.verdict is Verdict.BLOCK
    assert decision.suspect_classes == (4,)
    assert [result.name for result in decision.detectors if result.blocking] == list(TWO)
    assert decision.reasons[0] == (
        "corruption_probe: class 4: what was tried sends 100% of held-out images there, and 0.8455 share of images "
        "beyond the control's is within 1.10 times of a limit, patch_sweep within 1.10 times of one of its own: where "
        "they point at one class, two within 1.15 times count"
    )


@pytest.mark.parametrize("name", TWO)
def test_one_alone_does_not(name: str) -> None:
    others = [clean(other) for other in TWO if other != name]
    assert decided(near(name), *others).verdict is Verdict.PASS


def test_nor_do_two_that_point_at_different_classes() -> None:
    assert decided(near(TWO[0], 4), near(TWO[1], 5)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("within", "verdict"), [(NEAR_LIMIT_FACTOR - 1e-6, Verdict.BLOCK), (NEAR_LIMIT_FACTOR + 1e-6, Verdict.PASS)]
)
def test_the_farther_one_has_to_be_near(within: float, verdict: Verdict) -> None:
    found = near(TWO[0], within=1.01), near(TWO[1], within=within)
    assert decided(*found).verdict is verdict
    scores = model_scores(found)
    assert (max(score.value for score in scores.values()) >= 0) == (verdict is Verdict.BLOCK)
    assert {score.target for score in scores.values()} == {4}


def test_both_triggers_have_to_work() -> None:
    assert decided(near(TWO[0]), near(TWO[1], success=0.8)).verdict is Verdict.PASS


def test_on_synthetic_images_none_counts() -> None:
    """There weak triggers lead to some class of clean networks in every search."""
    first, second = (replace(near(name), verified=False) for name in TWO)
    assert decided(first, second).verdict is Verdict.PASS
    assert decided(replace(first, verified=True), second).verdict is Verdict.BLOCK


def test_what_blocks_by_itself_needs_no_other() -> None:
    decision = decided(*(near(name) for name in TWO), planted("neural_cleanse", 7))
    assert decision.suspect_classes == (7,)


def test_evidence_sent_twice_is_no_agreement() -> None:
    assert decided(near(TWO[0]), near(TWO[0])).verdict is not Verdict.BLOCK


def test_the_words_are_of_the_trigger_that_works() -> None:
    """One that worked only where it was optimised gives way to the second look's."""
    first = near(TWO[0], success=0.5)
    again = Confirmation(None, 4, first.values[4], 0.97, None)
    decision = decided(replace(first, confirmations=(again,)), near(TWO[1]))
    assert decision.verdict is Verdict.BLOCK
    assert "what was tried sends 97% of held-out images there" in decision.reasons[0]
