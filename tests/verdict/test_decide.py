"""The decision: BLOCK before INCONCLUSIVE before PASS, and no PASS without all the evidence that the policy wants."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence import (
    INVERSIONS,
    NAMES,
    anything,
    clean,
    innocent_pairs,
    judgement,
    planted,
    scan_of,
    scans,
    scans_with_zeros,
    with_pairs,
    with_values,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.errors import RefusedError, RegistryReadError, WorkerError
from backdoor_gate.records import Evidence, Inconclusive, Measured, NotApplicable, Scan, Status, Suspicion, Verdict
from backdoor_gate.verdict.coverage import NEVER_TESTED, coverage
from backdoor_gate.verdict.decide import decide, failed
from backdoor_gate.verdict.scores import model_scores

ALL_CLEAN = tuple(clean(name) for name in NAMES)


def without(name: str, *instead: Evidence) -> Scan:
    """Return an innocent scan with other evidence in one detector's place."""
    return scan_of([*(e for e in ALL_CLEAN if e.detector != name), *instead])


# ---------------------------------------------------------------------------------------------- the three verdicts


def test_an_innocent_network_passes() -> None:
    decision = decide(scan_of(ALL_CLEAN), judgement(NAMES))
    assert decision.verdict is Verdict.PASS
    assert decision.suspicion is Suspicion.NONE
    assert decision.suspect_classes == ()
    assert decision.reasons == ("no evidence of a backdoor under the tests listed",)
    assert [result.name for result in decision.detectors] == list(NAMES)


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_planted_trigger_blocks(name: str) -> None:
    decision = decide(without(name, planted(name, 4)), judgement(NAMES))
    assert decision.verdict is Verdict.BLOCK
    assert decision.suspect_classes == (4,)
    assert decision.reasons[0].startswith(f"{name}: class 4: ")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("required", [True, False])
def test_missing_evidence(name: str, required: bool) -> None:
    wanted = judgement(NAMES if required else tuple(other for other in NAMES if other != name))
    for instead in ([], [Inconclusive(name, "timed out")], [NotApplicable(name, "odd graph")]):
        decision = decide(without(name, *instead), wanted)
        assert decision.verdict is (Verdict.INCONCLUSIVE if required else Verdict.PASS)
        if required:
            assert decision.reasons[0].startswith(f"{name}: ")


def test_what_the_candidate_does_not_control_is_excused() -> None:
    decision = decide(
        without("final_layer", NotApplicable("final_layer", "no GPU", by_candidate=False)), judgement(NAMES)
    )
    assert decision.verdict is Verdict.PASS


def test_evidence_that_comes_twice_is_none() -> None:
    for second in (clean("max_margin"), NotApplicable("max_margin", "x", by_candidate=False)):
        decision = decide(scan_of([*ALL_CLEAN, second]), judgement(NAMES))
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert decision.reasons == ("max_margin: required, but the scan holds no single result of it",)


def test_a_detector_that_is_not_of_the_pack_answers_for_nobody() -> None:
    stranger = replace(clean("max_margin"), detector="stranger")
    decision = decide(scan_of([*ALL_CLEAN, stranger]), judgement((*NAMES, "stranger")))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert all(result.name != "stranger" for result in decision.detectors)


@pytest.mark.parametrize(
    ("accuracy", "images", "verdict"),
    [
        (0.95, 500, Verdict.PASS),
        (0.10, 500, Verdict.INCONCLUSIVE),
        (0.0, 500, Verdict.INCONCLUSIVE),
        (0.13, 500, Verdict.INCONCLUSIVE),  # chance, give or take three standard errors
        (0.15, 500, Verdict.PASS),
        (0.15, 50, Verdict.INCONCLUSIVE),
        (None, 500, Verdict.PASS),
    ],
)
def test_data_that_does_not_fit_the_model(accuracy: float | None, images: int, verdict: Verdict) -> None:
    decision = decide(scan_of(ALL_CLEAN, accuracy=accuracy, images=images), judgement(NAMES))
    assert decision.verdict is verdict
    if verdict is Verdict.INCONCLUSIVE:
        assert "no better than guessing" in decision.reasons[0]


def test_a_trigger_found_on_data_that_does_not_fit_blocks_nothing() -> None:
    scan = scan_of([planted("neural_cleanse")], accuracy=0.1)
    decision = decide(scan, judgement(["neural_cleanse", "max_margin"]))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "no better than guessing" in decision.reasons[0], "before what is missing for that reason"


# ---------------------------------------------------------------------------------------------- margins


def margin_of(class_index: int) -> Measured:
    values = list(clean("max_margin").values)
    values[class_index] = 120.0
    return with_values("max_margin", values)


def trigger_to(class_index: int, share: float = 0.75, success: float = 1.0, usual: float = 0.02) -> Measured:
    """Return patches of which one is smaller than the next, but not by itself suspect."""
    values = [usual] * 10
    values[class_index] = share * usual
    return with_values("neural_cleanse", values, success=success)


def test_a_margin_alone_is_a_weak_suspicion() -> None:
    decision = decide(without("max_margin", margin_of(6)), judgement(NAMES))
    assert decision.verdict is Verdict.PASS
    assert decision.suspicion is Suspicion.WEAK
    assert decision.reasons[1].startswith("weak suspicion, max_margin: class 6: ")


def test_a_margin_and_a_small_trigger_to_the_same_class_block() -> None:
    decision = decide(scan_of([margin_of(6), trigger_to(6)]), judgement(["max_margin"]))
    assert decision.verdict is Verdict.BLOCK
    assert decision.suspect_classes == (6,)
    assert "borne out by neural_cleanse" in decision.reasons[0]


@pytest.mark.parametrize(
    "other",
    [
        trigger_to(5),
        trigger_to(6, share=0.9),
        trigger_to(6, success=0.8),
        trigger_to(6, usual=0.03),  # weaker than the next, but too strong to count
        Inconclusive("neural_cleanse", "x"),
    ],
)
def test_a_margin_that_no_trigger_bears_out_does_not_block(other: Evidence) -> None:
    assert decide(scan_of([margin_of(6), other]), judgement(["max_margin"])).verdict is Verdict.PASS


def test_weights_inform_and_never_block() -> None:
    weights = with_values("final_layer", [0.5, 0.52, 0.48, 0.51, 0.49, 0.53, 9.0, 0.47, 0.5, 0.51])
    decision = decide(scan_of([weights, trigger_to(6)]), judgement(["final_layer"]))
    assert decision.verdict is Verdict.PASS
    assert decision.suspicion is Suspicion.WEAK


# ---------------------------------------------------------------------------------------------- whatever comes


@settings(deadline=None)
@given(scans_with_zeros())
def test_no_strength_of_zero_is_divided_by(scan: Scan) -> None:
    decision = decide(scan, judgement())
    assert decision.verdict in {Verdict.PASS, Verdict.BLOCK, Verdict.INCONCLUSIVE}
    assert model_scores(scan.evidence) is not None


@given(scans(), st.lists(st.sampled_from(NAMES), unique=True))
def test_a_pass_has_all_its_evidence(scan: Scan, required: list[str]) -> None:
    decision = decide(scan, judgement(required))
    assert decision.reasons
    if decision.verdict is not Verdict.PASS:
        return
    excused = {e.detector for e in scan.evidence if isinstance(e, NotApplicable) and not e.by_candidate}
    for name in required:
        (result,) = (result for result in decision.detectors if result.name == name)
        assert result.status is Status.MEASURED or name in excused
        if name in ("neural_cleanse", "spectral_inversion") and result.status is Status.MEASURED:
            assert len(result.unmeasured) <= 0.2 * scan.num_classes
    assert not any(result.blocking for result in decision.detectors)
    assert decision.suspect_classes == ()


@given(scans(), st.data())
def test_doubled_evidence_never_passes(scan: Scan, data: st.DataObject) -> None:
    if not scan.evidence:
        return
    twice = data.draw(st.sampled_from(scan.evidence))
    doubled = replace(scan, evidence=(*scan.evidence, twice))
    assert decide(doubled, judgement([twice.detector])).verdict is not Verdict.PASS


@given(scans(), st.lists(st.sampled_from(NAMES), unique=True), st.randoms())
def test_the_order_of_the_detectors_does_not_matter(scan: Scan, required: list[str], random: st.DataObject) -> None:
    shuffled = list(scan.evidence)
    random.shuffle(shuffled)
    one, other = (decide(s, judgement(required)) for s in (scan, replace(scan, evidence=tuple(shuffled))))
    assert (one.verdict, one.suspicion) == (other.verdict, other.suspicion)
    assert set(one.suspect_classes) == set(other.suspect_classes)
    assert set(one.reasons) == set(other.reasons)


@given(scans(least=10, most=10), st.sampled_from(INVERSIONS), st.lists(st.sampled_from(NAMES), unique=True))
def test_a_planted_trigger_blocks_whatever_else_was_found(scan: Scan, name: str, required: list[str]) -> None:
    """Failed, missing or innocent evidence of other detectors hides nothing, where the data is the model's."""
    scan = replace(scan, data=replace(scan.data, accuracy=0.95))
    evidence = (*(e for e in scan.evidence if e.detector != name), planted(name))
    decision = decide(replace(scan, evidence=evidence), judgement(required))
    assert decision.verdict is Verdict.BLOCK
    assert 3 in decision.suspect_classes


@given(scans(), st.data())
def test_evidence_taken_away_never_makes_a_pass(scan: Scan, data: st.DataObject) -> None:
    """What kept a required detector from its answer is never to the candidate's advantage."""
    required = [e.detector for e in scan.evidence]
    if not required:
        return
    lost = data.draw(st.sampled_from(required))
    instead = data.draw(st.sampled_from([None, Inconclusive(lost, "crashed"), NotApplicable(lost, "odd")]))
    evidence = tuple(e for e in scan.evidence if e.detector != lost)
    poorer = replace(scan, evidence=evidence if instead is None else (*evidence, instead))
    assert decide(poorer, judgement(required)).verdict is not Verdict.PASS


@given(scans(names=INVERSIONS), st.data())
def test_nothing_blocks_without_a_trigger_that_works(scan: Scan, data: st.DataObject) -> None:
    margin = data.draw(anything("max_margin", scan.num_classes))
    failing = tuple(
        replace(e, success=tuple(0.84 for _ in e.values)) if isinstance(e, Measured) else e for e in scan.evidence
    )
    decision = decide(replace(scan, evidence=(*failing, margin)), judgement())
    assert decision.verdict is not Verdict.BLOCK


# ---------------------------------------------------------------------------------------------- no scan at all


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (RefusedError("truncated", where="model.pth", hint="re-upload"), Verdict.REFUSED),
        (WorkerError("out of memory"), Verdict.INCONCLUSIVE),
        (RegistryReadError("no such version"), Verdict.INCONCLUSIVE),
    ],
)
def test_an_audit_that_ended_early(error: RefusedError, verdict: Verdict) -> None:
    decision = failed(error)
    assert decision.verdict is verdict
    assert decision.reasons == (str(error),)
    assert decision.detectors == ()


def test_a_class_that_all_can_be_sent_to_comes_before_the_targets_of_pairs() -> None:
    pairs = [
        replace(pair, strength=pair.strength * 0.01) if (pair.source, pair.target) == (7, 9) and pair.strength else pair
        for pair in innocent_pairs(0.01)
    ]
    scan = scan_of([planted("neural_cleanse", 3), with_pairs("pair_patch", pairs)])
    decision = decide(scan, judgement())
    assert decision.suspect_classes == (3, 9)
    assert decision.detectors[1].suspect_pairs == ((7, 9),)


def test_coverage_names_what_was_and_was_not_looked_for() -> None:
    results = decide(without("warp_inversion", Inconclusive("warp_inversion", "x")), judgement(NAMES)).detectors
    told = coverage(results, clean_data=True)
    assert [line.partition(":")[0] for line in told.tested] == [name for name in NAMES if name != "warp_inversion"]
    assert told.not_tested[0].startswith("warp_inversion: not run")
    assert told.not_tested[1:] == NEVER_TESTED
    assert any("synthetic" in line for line in coverage(results, clean_data=False).not_tested)
    assert coverage((), clean_data=False).tested == ()
