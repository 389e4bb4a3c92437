"""Classes of noise are judged by limits of their own and never stand between a planted class and its limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence import CLEAN, INVERSIONS, PLANTED, TRIED, clean, planted, with_values
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.catalogue import FEWEST_COMPARED
from backdoor_gate.records import DetectorResult, Measured
from backdoor_gate.verdict.assess import assess
from backdoor_gate.verdict.comparison import compared, ordinary
from backdoor_gate.verdict.scales import SCALES
from backdoor_gate.verdict.scores import detector_score

STRICTER = [name for name in INVERSIONS if SCALES[name].of_noise is not None]
NATURAL = {"neural_cleanse": 0.018, "spectral_inversion": 0.15, "frequency_inversion": 0.4, "generator_inversion": 0.04}
"""Of a class that noise leads to, on clean networks."""


def judged(evidence: Measured) -> DetectorResult:
    return assess(evidence, required=True, rate=0.0025, max_unmeasured=0.2)


def natural(name: str, at: int = 8) -> Measured:
    """Return the evidence of a clean network with one class that noise leads to."""
    values = list(CLEAN[name])
    values[at] = NATURAL[name]
    return replace(with_values(name, values), noise_classes=(at,))


@pytest.mark.parametrize("name", STRICTER)
def test_a_weak_trigger_to_a_class_of_noise_is_natural(name: str) -> None:
    evidence = natural(name)
    assert not judged(evidence).suspect_classes
    assert judged(replace(evidence, noise_classes=())).blocking, "by the limits of the others it would block"


@pytest.mark.parametrize("name", STRICTER)
def test_it_does_not_hide_a_planted_class(name: str) -> None:
    values = list(natural(name).values)
    values[3] = 1.05 * NATURAL[name]
    evidence = replace(with_values(name, values), noise_classes=(8,))
    result = judged(evidence)
    assert (result.blocking, result.suspect_classes) == (True, (3,))
    score = detector_score(evidence)
    assert score is not None
    assert (score.value > 0, score.target) == (True, 3)


@pytest.mark.parametrize("name", ["neural_cleanse", "spectral_inversion", "frequency_inversion"])
def test_what_is_planted_in_a_class_of_noise_still_blocks_where_it_is_weak_enough(name: str) -> None:
    result = judged(replace(planted(name, 8), noise_classes=(8,)))
    assert (result.blocking, result.suspect_classes) == (True, (8,))
    assert "though noise leads there, too" in result.reason


def test_no_generated_signal_to_a_class_of_noise_is_suspect() -> None:
    evidence = replace(planted("generator_inversion", 8), noise_classes=(8,))
    assert not judged(evidence).suspect_classes
    assert detector_score(evidence) is None or judged(evidence).anomaly_index is not None


@pytest.mark.parametrize("name", ["final_layer", "warp_inversion"])
def test_where_no_limits_tell_them_apart_all_classes_are_compared(name: str) -> None:
    evidence = clean(name)
    assert judged(replace(evidence, noise_classes=(8,))) == judged(evidence)


def test_a_margin_that_noise_explains_must_be_larger() -> None:
    values = [20.0, 21, 22, 20, 19, 21, 20, 22, 55, 20]
    margins = Measured("max_margin", tuple(values))
    assert judged(margins).suspect_classes == (8,)
    assert judged(replace(margins, noise_classes=(8,))).suspect_classes == ()
    assert judged(replace(margins, values=(*values[:8], 95.0, 20), noise_classes=(8,))).suspect_classes == (8,)


@given(
    st.sampled_from(INVERSIONS),
    st.integers(2, 12).flatmap(
        lambda k: st.tuples(
            st.lists(st.floats(1e-3, 10) | st.none(), min_size=k, max_size=k), st.sets(st.integers(0, k - 1))
        )
    ),
)
def test_a_class_is_always_among_those_it_is_compared_with(
    name: str, drawn: tuple[list[float | None], set[int]]
) -> None:
    values, of_noise = drawn
    evidence = replace(with_values(name, values), noise_classes=tuple(sorted(of_noise)))
    assert len(ordinary(evidence)) == len(values) or len(ordinary(evidence)) >= FEWEST_COMPARED
    for k, value in enumerate(values):
        among = compared(evidence, k)
        assert among.value == value
        assert among.few == (len(values) < FEWEST_COMPARED)
        assert len(among.values) >= min(len(values), FEWEST_COMPARED)
        assert among.of_noise == (not among.few and k in of_noise and SCALES[name].of_noise is not None)


def test_the_planted_values_are_planted_ones() -> None:
    assert set(PLANTED) == {*INVERSIONS, *TRIED}
