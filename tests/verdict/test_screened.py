"""Of very many classes most are searched briefly: a random draw tells what is usual, and no class stands in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evidence import judgement, scan_of

from backdoor_gate.records import Measured, Status, Verdict
from backdoor_gate.trigger_facts import Pair, Screening
from backdoor_gate.verdict import criteria
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.coverage import coverage
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.scores import detector_score
from backdoor_gate.verdict.screened import completed

if TYPE_CHECKING:
    from backdoor_gate.verdict.comparison import Comparison

CLASSES, SEARCHED, DRAWN = 1_000, 100, 25
TARGET = 123


def whole(planted: float | None = None) -> Measured:
    """All classes of a network, searched in full: strengths spread by a third, one of them planted."""
    values = np.maximum(0.1 * np.exp(0.3 * np.random.default_rng(0).standard_normal(CLASSES)), 0.05)
    if planted is not None:
        values[TARGET] = planted
    return Measured("neural_cleanse", tuple(values.tolist()), (1.0,) * CLASSES, verified=True)


def screened(evidence: Measured) -> Measured:
    """The same after a short search that ranks the classes rightly."""
    order = np.argsort(np.array(evidence.values))
    others = np.random.default_rng(1).permutation(order[SEARCHED - DRAWN :])
    drawn, left_out = (tuple(sorted(part.tolist())) for part in (others[:DRAWN], others[DRAWN:]))
    values, success = (
        tuple(None if k in left_out else value for k, value in enumerate(vector or ()))
        for vector in (evidence.values, evidence.success)
    )
    return replace(evidence, values=values, success=success, screening=Screening(left_out=left_out, drawn=drawn))


def changed(evidence: Measured, value: float | None, *classes: int) -> Measured:
    values = tuple(value if k in classes else own for k, own in enumerate(evidence.values))
    return replace(evidence, values=values)


def drawn_of(evidence: Measured) -> tuple[int, ...]:
    assert evidence.screening is not None
    return evidence.screening.drawn


@pytest.mark.parametrize("planted", [None, 0.01])
def test_the_verdict_is_that_of_a_full_search(planted: float | None) -> None:
    both = whole(planted), screened(whole(planted))
    full, part = (assess(evidence, required=True, rate=0.002, max_unmeasured=0.2) for evidence in both)
    assert part.status is Status.MEASURED
    assert (part.blocking, part.suspect_classes) == (full.blocking, full.suspect_classes)
    assert part.blocking == (planted is not None)
    one, other = (detector_score(evidence) for evidence in both)
    assert one is not None
    assert other is not None
    assert other.value == pytest.approx(one.value, abs=0.25)


def test_what_is_usual_is_that_of_all_classes() -> None:
    medians = [np.median(np.array(found.values, dtype=float)) for found in (whole(), completed(screened(whole())))]
    assert medians[1] == pytest.approx(medians[0], rel=0.15)


def test_a_report_shows_no_value_that_is_anothers() -> None:
    evidence = screened(whole(0.01))
    result = assess(evidence, required=True, rate=0.002, max_unmeasured=0.2)
    assert (result.per_class, result.unmeasured) == (evidence.values, ())
    assert result.screening == evidence.screening


def test_a_drawn_class_lends_its_value_and_not_its_guilt() -> None:
    evidence = screened(whole())
    suspect = drawn_of(evidence)[3]
    result = assess(changed(evidence, 0.001, suspect), required=True, rate=0.002, max_unmeasured=0.2)
    assert set(result.suspect_classes) <= {suspect}


def test_a_weak_class_blocks_alike_whether_it_was_drawn_or_among_the_weakest() -> None:
    evidence = screened(whole())
    drawn, left_out = drawn_of(evidence)[3], evidence.screening.left_out if evidence.screening else ()
    weakest = next(k for k in range(CLASSES) if k not in left_out and k not in drawn_of(evidence))
    found = [
        assess(changed(evidence, 0.0105, k), required=True, rate=1e-9, max_unmeasured=0.2) for k in (drawn, weakest)
    ]
    assert [each.blocking for each in found] == [True, True]
    told = [each.reason.replace(f"class {k}", "class") for each, k in zip(found, (drawn, weakest), strict=True)]
    assert told[0] == told[1]
    assert "of the next class" in told[0]


def test_censored_classes_count_as_often_as_they_are_drawn() -> None:
    evidence = screened(whole())
    result = assess(changed(evidence, None, *drawn_of(evidence)[:10]), required=True, rate=0.002, max_unmeasured=0.2)
    assert result.status is Status.INCONCLUSIVE
    assert result.reason.startswith("no trigger reached 37")  # ten of those searched, and 0.4 of the 900 others


def test_a_pass_says_what_it_does_not_speak_of() -> None:
    full, part = (decide(scan_of([found], classes=CLASSES), judgement()) for found in (whole(), screened(whole())))
    assert part.verdict is Verdict.PASS
    (told,) = [line for line in coverage(part.detectors, clean_data=True).not_tested if "900 of 1000" in line]
    assert "neural_cleanse" in told
    assert not any("of 1000" in line for line in coverage(full.detectors, clean_data=True).not_tested)


def test_sources_are_left_out_by_name() -> None:
    pairs = tuple(Pair(s, t, 0.1, 1.0, 5.0) for s in range(100) for t in range(9) if s != t)
    screening = Screening(left_out=tuple(range(100, CLASSES)), drawn=())
    evidence = Measured("pair_patch", (0.1,) * CLASSES, (1.0,) * CLASSES, True, pairs=pairs, screening=screening)
    decision = decide(scan_of([evidence], classes=CLASSES), judgement())
    assert any(
        "900 of 1000 source classes" in line for line in coverage(decision.detectors, clean_data=True).not_tested
    )


def test_only_classes_that_were_searched_are_compared_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, calls = criteria.compared, list[int]()

    def counted(evidence: Measured, class_index: int) -> Comparison:
        calls.append(class_index)
        return compared(evidence, class_index)

    monkeypatch.setattr(criteria, "compared", counted)
    assert decide(scan_of([screened(whole(0.001))], classes=CLASSES), judgement()).verdict is Verdict.BLOCK
    assert 0 < len(calls) <= 4 * SEARCHED  # a look at every other class each: of very many classes that takes minutes
