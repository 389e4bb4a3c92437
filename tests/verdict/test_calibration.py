"""References make a decision stricter or leave it alone, and its rate is called calibrated only where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from evidence import clean, judgement, planted, scan_of, scans, with_values
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.records import Suspicion, Verdict
from backdoor_gate.verdict.calibration import values_of
from backdoor_gate.verdict.conformal import FEWEST_ALIKE
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.references import KnownModel, ModelKind, References
from backdoor_gate.verdict.scores import model_scores

if TYPE_CHECKING:
    from backdoor_gate.records import Measured
    from backdoor_gate.verdict.judgement import Judgement

INNOCENT = (clean("neural_cleanse"), clean("spectral_inversion"))
ODD = (
    with_values("neural_cleanse", [0.06, 0.08, 0.25, 0.035, 0.2, 0.11, 0.18, 0.07, 0.14, 0.15]),
    clean("spectral_inversion"),
)
"""A trigger of 0.28 of the median class: within the shipped limits, and like no reference."""
REQUIRED = ("neural_cleanse", "spectral_inversion")


def references(count: int, *, blocked: int = 0, classes: int = 10, rate: float = 0.01) -> References:
    """Return references whose scores are all about those of an innocent network."""
    usual = values_of(model_scores(INNOCENT))
    kind = ModelKind(classes=classes, shape=(1, 8, 8))
    models = tuple(
        KnownModel(
            name=str(at), digest=f"sha256:{at:064x}", kind=kind, blocked=at < blocked,
            scores={name: value - at % 10 / 100 for name, value in usual.items()},
        )
        for at in range(count)
    )  # fmt: skip
    return References(detectors={}, data="clean", false_block_rate=rate, models=models)


def judged_by(found: References, rate: float = 0.01, unfit: str = "") -> Judgement:
    digest = "sha256:" + "0" * 64
    return replace(judgement(REQUIRED, rate), references=found, references_digest=digest, references_unfit=unfit)


def test_enough_references_see_what_the_limits_let_pass() -> None:
    assert decide(scan_of(ODD), judgement(REQUIRED)).verdict is Verdict.PASS
    found = decide(scan_of(ODD), judged_by(references(99)))
    assert (found.verdict, found.suspect_classes, found.calibrated) == (Verdict.BLOCK, (3,), True)
    (reason,) = found.reasons
    assert reason.startswith("neural_cleanse: class 3: a trigger within the shipped limits, but farther out than ")
    assert reason.endswith("p = 0.01 among 99")
    assert found.calibration is not None
    assert (found.calibration.p_value, found.calibration.in_force) == (0.01, True)
    assert found.calibration.likely_bound == pytest.approx(0.0298, abs=1e-4)


def test_a_usual_network_passes_and_the_rate_is_calibrated() -> None:
    found = decide(scan_of(INNOCENT), judged_by(references(99)))
    assert (found.verdict, found.suspicion, found.calibrated) == (Verdict.PASS, Suspicion.NONE, True)


def test_too_few_references_only_raise_a_suspicion() -> None:
    found = decide(scan_of(ODD), judged_by(references(98)))
    assert (found.verdict, found.suspicion, found.calibrated) == (Verdict.PASS, Suspicion.WEAK, False)
    assert "weak suspicion: rarer than most of the 98 references (p = 0.01)" in found.reasons
    assert found.calibration is not None
    assert found.calibration.note == (
        "98 references support a false-block rate of 0.0101, not 0.01 (that needs 99); the shipped limits decide"
    )
    assert decide(scan_of(ODD), judged_by(references(98), rate=0.02)).verdict is Verdict.BLOCK


def test_limits_that_block_too_many_references_are_not_called_calibrated() -> None:
    """They still block; what is stated is that the rate is not kept."""
    found = decide(scan_of((planted("neural_cleanse"), INNOCENT[1])), judged_by(references(99, blocked=3)))
    assert (found.verdict, found.calibrated) == (Verdict.BLOCK, False)
    assert found.calibration is not None
    assert found.calibration.p_value == 0.04
    assert "99 references, 3 of which the shipped limits block, support a false-block rate of 0.04" in (
        found.calibration.note
    )
    assert decide(
        scan_of((planted("neural_cleanse"), INNOCENT[1])), judged_by(references(99, blocked=3), 0.05)
    ).calibrated


@pytest.mark.parametrize(
    ("given_references", "unfit", "words"),
    [
        (references(99, classes=43), "", "0 of 99 references have 10 classes of 1×8×8 images, fewer than 10"),
        (references(99).model_copy(update={"data": "synthetic"}), "", "measured on synthetic images, this model"),
        (references(99), "the references were measured with other settings of x", "other settings of x"),
        (references(FEWEST_ALIKE - 1), "", "9 of 9 references have"),
        (references(0), "", "0 of 0 references have"),
    ],
)  # fmt: skip
def test_references_of_something_else_decide_nothing(given_references: References, unfit: str, words: str) -> None:
    found = decide(scan_of(ODD), judged_by(given_references, 0.5, unfit))
    assert (found.verdict, found.calibrated) == (Verdict.PASS, False)
    assert found.calibration is not None
    assert words in found.calibration.note
    assert found.calibration.note.endswith("; the shipped limits decide")
    assert found.calibration.p_value is None


@pytest.mark.parametrize("evidence", [ODD, INNOCENT, (planted("neural_cleanse"), INNOCENT[1])])
def test_networks_of_our_own_inform_and_decide_nothing(evidence: tuple[Measured, ...]) -> None:
    alone = decide(scan_of(evidence), judgement(REQUIRED))
    found = decide(scan_of(evidence), replace(judgement(REQUIRED), ours=references(99)))
    assert found.calibration is not None
    assert (found.calibration.ours, found.calibration.in_force, found.calibrated) == (True, False, False)
    assert found.calibration.p_value is not None
    assert (found.calibration.p_value > 0.05) == (evidence is INNOCENT)
    assert replace(found, calibration=None) == alone
    other = decide(scan_of(evidence), replace(judgement(REQUIRED), ours=references(99, classes=43)))
    assert other == alone


def test_a_model_is_not_its_own_reference() -> None:
    known = references(100)
    given = replace(judgement(), references=known, ours=known).for_candidate(known.models[0].digest)
    for left in (given.references, given.ours):
        assert left is not None
        assert left.models == known.models[1:]
    assert judgement().for_candidate("sha256:x") == judgement()


def test_the_limits_are_never_looser_than_for_the_references() -> None:
    assert judged_by(references(99, rate=0.01), rate=0.1).limits_rate == 0.01
    assert judged_by(references(99, rate=0.01), rate=0.001).limits_rate == 0.001
    assert judgement(rate=0.1).limits_rate == 0.1


@settings(deadline=None, max_examples=150)
@given(scans(), st.integers(0, 120), st.integers(0, 3))
def test_references_never_turn_a_block_into_anything_else(found: object, count: int, blocked: int) -> None:
    """Nor do they make a PASS of what is none, and what they block names a class."""
    without = decide(found, judgement(REQUIRED))  # type: ignore[arg-type]
    population = references(count, blocked=min(blocked, count))
    with_them = decide(found, judged_by(population))  # type: ignore[arg-type]
    if without.verdict is Verdict.BLOCK:
        assert with_them.verdict is Verdict.BLOCK
        assert with_them.suspect_classes == without.suspect_classes
    assert with_them.verdict in {without.verdict, Verdict.BLOCK}
    assert (with_them.verdict is Verdict.BLOCK) == bool(with_them.suspect_classes)
    if with_them.calibrated:
        assert with_them.calibration is not None
        p_value = with_them.calibration.p_value
        assert p_value is not None
        assert with_them.verdict is not Verdict.BLOCK or p_value <= 0.01
