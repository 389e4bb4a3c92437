"""The second look: what is not found again, or belongs to the class, does not block; a failed one excuses nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence import (
    CLEAN,
    INVERSIONS,
    NAMES,
    PAIRS,
    PLANTED,
    clean,
    innocent_pairs,
    judgement,
    planted,
    scan_of,
    scans,
    with_pairs,
    with_values,
)
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.records import Decision, DetectorResult, Evidence, Measured, Scan, Status, Suspicion, Verdict
from backdoor_gate.trigger_facts import Confirmation, Pair
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.confirm import (
    INEXPLICABLE,
    LUCKIER,
    NATURAL_LIKENESS,
    STRONGER,
    all_carried_over,
    carried_over,
)
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.scales import PAIR_SCALES

CLASS = 3


def looked_at(evidence: Measured, *confirmations: Confirmation) -> Measured:
    return replace(evidence, confirmations=confirmations)


def again(
    strength: float | None, success: float | None = 0.97, likeness: float | None = 0.2, source: int | None = None
) -> Confirmation:
    return Confirmation(source, CLASS, strength, success, likeness)


def decided(*evidence: Evidence) -> Decision:
    names = [each.detector for each in evidence]
    return decide(scan_of([*evidence, *(clean(name) for name in NAMES if name not in names)]), judgement(NAMES))


def judged(evidence: Measured) -> DetectorResult:
    return assess(carried_over(evidence), required=True, rate=0.01, max_unmeasured=0.2)


# ---------------------------------------------------------------------------------------------- from all classes to one


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_trigger_found_again_blocks_and_is_told(name: str) -> None:
    strength = PLANTED[name]
    decision = decided(looked_at(planted(name, CLASS), again(1.2 * strength)))
    assert decision.verdict is Verdict.BLOCK
    assert decision.suspect_classes == (CLASS,)
    assert decision.reasons[0].endswith(f"; again {1.2 * strength:.4g} from another seed, 97% of the other half")


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_second_trigger_stands_in_for_one_that_worked_only_where_it_was_optimised(name: str) -> None:
    first = planted(name, CLASS)
    rates = tuple(0.82 if k == CLASS else 1.0 for k in range(10))
    first = replace(first, success=rates)
    assert decided(first).verdict is Verdict.PASS
    decision = decided(looked_at(first, again(1.1 * PLANTED[name])))
    assert (decision.verdict, decision.suspect_classes) == (Verdict.BLOCK, (CLASS,))
    (result,) = (result for result in decision.detectors if result.name == name)
    assert result.per_class is not None
    assert result.per_class[CLASS] == pytest.approx(1.1 * PLANTED[name])
    assert decided(looked_at(first, again(1.1 * PLANTED[name], success=0.84))).verdict is Verdict.PASS
    assert decided(looked_at(first, again(CLEAN[name][CLASS]))).verdict is Verdict.PASS


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_second_trigger_stands_in_for_one_that_was_passed_by(name: str) -> None:
    first, second = clean(name), again(PLANTED[name])
    assert decided(first).verdict is Verdict.PASS
    decision = decided(looked_at(first, second))
    assert (decision.verdict, decision.suspect_classes) == (Verdict.BLOCK, (CLASS,))
    (result,) = (result for result in decision.detectors if result.name == name)
    assert result.per_class is not None
    assert result.per_class[CLASS] == pytest.approx(LUCKIER * PLANTED[name])
    assert decided(looked_at(first, again(PLANTED[name], success=0.84))).verdict is Verdict.PASS
    assert decided(looked_at(first, again(PLANTED[name], likeness=0.9))).verdict is (
        Verdict.BLOCK if PLANTED[name] * LUCKIER <= INEXPLICABLE[name] else Verdict.PASS
    )
    hardly = again(0.95 * (CLEAN[name][CLASS] or 0.0))
    assert judged(looked_at(first, hardly)).per_class == CLEAN[name]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (again(None, None), "not found again from another seed"),
        (again(0.09), "again 0.09 from another seed, 97% of the other half"),
        (again(0.005, success=0.7), "from another seed it moves only 70% of the other half"),
    ],
    ids=["no trigger", "much stronger", "moves too few"],
)
def test_a_lucky_inversion_is_a_weak_suspicion(second: Confirmation, words: str) -> None:
    decision = decided(looked_at(planted("neural_cleanse", CLASS), second))
    assert decision.verdict is Verdict.PASS
    assert decision.suspicion is Suspicion.WEAK
    assert decision.suspect_classes == ()
    (weak,) = decision.reasons[1:]
    assert weak.startswith("weak suspicion, neural_cleanse: class 3: its trigger sends 100% of held-out images there, ")
    assert weak.endswith(words)


def test_a_little_stronger_is_found_again() -> None:
    limit = 0.0085  # of neural_cleanse, whatever the other classes
    evidence = planted("neural_cleanse", CLASS)
    values = [0.2 * value for value in evidence.values if value is not None]
    values[CLASS] = 0.8 * limit
    near = replace(evidence, values=tuple(values))
    assert judged(looked_at(near, again(0.99 * STRONGER * limit))).blocking
    assert not judged(looked_at(near, again(1.5 * STRONGER * limit))).blocking


def natural(name: str, strength: float, likeness: float | None = 0.9) -> Measured:
    values = [20 * strength * share for share in (0.9, 0.95, 1.0, 0.1, 1.05, 1.1, 0.92, 0.98, 1.02, 1.08)]
    values[CLASS] = strength
    return looked_at(with_values(name, values), again(strength, likeness=likeness))


@pytest.mark.parametrize("name", INVERSIONS)
def test_the_classs_own_features_are_a_weak_suspicion(name: str) -> None:
    strength = 1.2 * INEXPLICABLE[name]
    decision = decided(natural(name, strength, NATURAL_LIKENESS))
    assert decision.verdict is Verdict.PASS
    assert decision.suspicion is Suspicion.WEAK
    assert decision.reasons[1].endswith("but it does what real images of the class do (likeness 0.70)")
    assert judged(natural(name, strength, NATURAL_LIKENESS - 0.01)).blocking


@pytest.mark.parametrize("name", INVERSIONS)
def test_no_likeness_explains_the_faintest_triggers(name: str) -> None:
    assert judged(natural(name, INEXPLICABLE[name], 1.0)).blocking


@pytest.mark.parametrize("name", INVERSIONS)
def test_what_cannot_be_told_explains_nothing(name: str) -> None:
    assert judged(natural(name, 1.2 * INEXPLICABLE[name], None)).blocking
    assert judged(planted(name, CLASS)).blocking


def test_a_look_at_another_class_changes_nothing() -> None:
    other = Confirmation(None, 4, None, None, 1.0)
    first, second = planted("neural_cleanse", CLASS), looked_at(planted("neural_cleanse", CLASS), other)
    assert judged(second) == replace(judged(first), confirmations=(other,))


def test_what_stands_is_named_without_what_does_not() -> None:
    values = list(CLEAN["neural_cleanse"])
    values[CLASS], values[7] = 0.004, 0.006
    result = judged(looked_at(with_values("neural_cleanse", values), again(None, None)))
    assert result.blocking
    assert result.suspect_classes == (7,)
    assert "class 3: " in result.reason


def test_an_unconfirmed_suspect_does_not_hide_what_is_missing() -> None:
    """Were it not for the suspect, too many classes without a trigger would make the measurement missing."""
    values = [*CLEAN["neural_cleanse"][:6], None, None, None, None]
    values[CLASS] = 0.004
    assert judged(with_values("neural_cleanse", values)).blocking
    result = judged(looked_at(with_values("neural_cleanse", values), again(None, None)))
    assert result.status is Status.INCONCLUSIVE


def test_a_margin_is_not_borne_out_by_a_natural_trigger() -> None:
    margins = list(CLEAN["max_margin"])
    margins[CLASS] = 4 * max(margins)
    patches = [0.2 * value for value in CLEAN["neural_cleanse"]]
    patches[CLASS] = 0.7 * min(patches)
    small = with_values("neural_cleanse", patches)
    margin = with_values("max_margin", margins)
    assert decided(margin, small).verdict is Verdict.BLOCK
    for second in (again(patches[CLASS], likeness=0.9), again(None, None)):
        decision = decided(margin, looked_at(small, second))
        assert decision.verdict is Verdict.PASS
        assert decision.suspicion is Suspicion.WEAK


# ---------------------------------------------------------------------------------------------- from class to class


def pair_planted(name: str, source: int = 7) -> list[Pair]:
    return [
        replace(pair, strength=pair.strength * 0.5 * PAIR_SCALES[name].alone)
        if (pair.source, pair.target) == (source, CLASS) and pair.strength
        else pair
        for pair in innocent_pairs(0.02)
    ]


def pair_judged(name: str, pairs: list[Pair], *confirmations: Confirmation) -> DetectorResult:
    return judged(looked_at(with_pairs(name, pairs), *confirmations))


def strength_of(pairs: list[Pair], source: int) -> float:
    (strength,) = (pair.strength for pair in pairs if (pair.source, pair.target) == (source, CLASS))
    assert strength is not None
    return strength


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair(name: str) -> None:
    pairs = pair_planted(name)
    strength = strength_of(pairs, 7)
    found = pair_judged(name, pairs, again(1.1 * strength, source=7))
    assert found.blocking
    assert found.suspect_pairs == ((7, CLASS),)
    assert found.reason.endswith(f"; 7→3 again {1.1 * strength:.4g} from another seed, 97% of the other half")
    for second in (again(None, None, source=7), again(10 * strength, source=7), again(strength, 0.5, source=7)):
        lucky = pair_judged(name, pairs, second)
        assert not lucky.blocking
        assert lucky.suspect_pairs == ((7, CLASS),)
        assert lucky.status is Status.MEASURED


@pytest.mark.parametrize("strength", [0.9, 1.5])
def test_a_natural_pair(strength: float) -> None:
    """The pair is natural only where it takes more than what no class has by nature."""
    pairs = pair_planted("pair_patch")
    scale = strength * INEXPLICABLE["pair_patch"] / strength_of(pairs, 7)
    pairs = [replace(pair, strength=scale * (pair.strength or 0.0)) for pair in pairs]
    found = pair_judged("pair_patch", pairs, again(strength_of(pairs, 7), likeness=0.95, source=7))
    assert found.blocking == (strength < 1)


def test_a_map_stands_while_enough_of_it_does() -> None:
    to_the_next = [(k, (k + 1) % 10) for k in range(10)]
    pairs = [
        replace(pair, strength=(pair.strength or 0.0) * 0.4) if (pair.source, pair.target) in to_the_next else pair
        for pair in innocent_pairs(0.01)
    ]
    lost = [Confirmation(s, t, None, None, None) for s, t in to_the_next]
    assert pair_judged("pair_patch", pairs, *lost[:2]).blocking
    assert not {(0, 1), (1, 2)} & set(pair_judged("pair_patch", pairs, *lost[:2]).suspect_pairs)
    unfounded = pair_judged("pair_patch", pairs, *lost[:8])
    assert not unfounded.blocking
    assert len(unfounded.suspect_pairs) >= 8


# ---------------------------------------------------------------------------------------------- whatever a worker sends


def looks(evidence: Evidence, drawn: st.DrawFn) -> Evidence:
    if not isinstance(evidence, Measured):
        return evidence
    ways = [(pair.source, pair.target) for pair in evidence.pairs] or [(None, k) for k in range(len(evidence.values))]
    share = st.none() | st.floats(0, 1)
    made = st.builds(
        lambda way, *rest: Confirmation(*way, *rest),
        st.sampled_from(ways),
        st.none() | st.floats(0, 100),
        share,
        st.none() | st.floats(-1, 1),
    )
    return replace(evidence, confirmations=tuple(drawn(st.lists(made, max_size=3))))


@st.composite
def looked_at_scans(draw: st.DrawFn) -> tuple[Scan, Scan]:
    """Draw a scan without second looks at its triggers, and with: a trigger that only the second has is in both."""
    scan = draw(scans())
    second = replace(scan, evidence=tuple(looks(evidence, draw) for evidence in scan.evidence))
    return replace(scan, evidence=tuple(map(without_looks, second.evidence))), second


def without_looks(evidence: Evidence) -> Evidence:
    if not isinstance(evidence, Measured):
        return evidence
    return replace(carried_over(evidence), confirmations=())


@given(looked_at_scans())
def test_to_carry_over_again_changes_nothing(both: tuple[Scan, Scan]) -> None:
    once = all_carried_over(both[1].evidence)
    assert all_carried_over(once) == once


@given(looked_at_scans())
def test_a_second_look_only_ever_takes_a_block_back(both: tuple[Scan, Scan]) -> None:
    first, second = (decide(scan, judgement()) for scan in both)
    assert first.verdict is Verdict.BLOCK or second.verdict is not Verdict.BLOCK
    for one, other in zip(*map(assessed, both), strict=True):
        if other.blocking:
            assert one.blocking
            assert set(other.suspect_classes) <= set(one.suspect_classes)
        elif one.blocking and other.status is Status.MEASURED:
            assert second.verdict is Verdict.BLOCK or second.suspicion is Suspicion.WEAK


def assessed(scan: Scan) -> list[DetectorResult]:
    """Judge each detector by itself."""
    return [
        assess(evidence, required=False, rate=0.01, max_unmeasured=0.2) for evidence in all_carried_over(scan.evidence)
    ]
