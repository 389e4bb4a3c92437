"""One number per detector and model: how far the model is beyond the shipped limits, on a logarithmic scale.

Zero is exactly at a limit, log 2 beyond it by a factor of two, negative within. Of a detector's criteria the one that
goes farthest counts (see `criteria`), and only where the trigger stands at second sight: so a score above zero always
names a class, or a pair, with a working trigger. Shares and indices are free of units; absolute sizes are relative to
the image's. Two detectors that come near their limits by the same class count as one beyond them, see `agreements`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import Measured
from backdoor_gate.verdict.confirm import all_carried_over, at_second_sight, carried_over
from backdoor_gate.verdict.corroborate import BORNE_OUT, support
from backdoor_gate.verdict.criteria import criteria, index_excess
from backdoor_gate.verdict.pair_residuals import best_map, residuals, residuals_at_second_sight
from backdoor_gate.verdict.references import FARTHEST
from backdoor_gate.verdict.scales import PAIR_SCALES, pair_scale_of
from backdoor_gate.verdict.screened import completed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from backdoor_gate.records import Evidence
    from backdoor_gate.trigger_facts import Pair
    from backdoor_gate.verdict.pair_residuals import Residuals
    from backdoor_gate.verdict.scales import PairScale

INDEX_RATE = 0.01 / 3
"""False-block rate whose critical anomaly index counts as the limit. It is the same whatever a policy asks for, and
however many detectors share that, so that the scores of different scans compare."""

NEAR_LIMIT_FACTOR = 1.15
"""Within such a factor of their limits two detectors count if both point at the same class."""


@dataclass(frozen=True, slots=True)
class Score:
    """How far a model is beyond one detector's limits, and by which class.

    Attributes:
        value: in [-FARTHEST, FARTHEST], larger is more suspicious, 0 at the limit.
        target: the class it is about.
        source: the class whose images are moved; None: all others.
    """

    value: float
    target: int
    source: int | None = None


def model_scores(evidence: Iterable[Evidence], index_rate: float = INDEX_RATE) -> dict[str, Score]:
    """Return the score of each detector that can block and has one, by name.

    What has no trigger only informs. A margin has none of its own: it counts for no more than the smallest working
    trigger to the same class bears out (see `corroborate`), and has no score where there is none.

    Args:
        evidence: of one model, each detector at most once.
        index_rate: as `INDEX_RATE`.
    """
    evidence = all_carried_over(evidence)
    measured = _measured(evidence)
    scores: dict[str, Score] = {}
    for found in measured:
        score = _score(found, index_rate)
        if score is not None and found.success is None:
            score = _borne_out(score, evidence) if found.detector in BORNE_OUT else None
        if score is not None:
            scores[found.detector] = score
    for class_index, near in agreements(evidence, index_rate).items():
        joint = Score(_bounded(min(near.values()) + math.log(NEAR_LIMIT_FACTOR)), class_index)
        for name in near:
            scores[name] = max(scores.get(name, joint), joint, key=_value)
    return scores


def agreements(evidence: Iterable[Evidence], index_rate: float) -> dict[int, dict[str, float]]:
    """Return by class the two detectors that go farthest by it, each with its score for the class.

    What names classes counts, even where it moves one class's images alone, but no search by pairs; and one of the two
    has to be replayed on clean images.

    Args:
        evidence: of one model, each detector at most once, as `carried_over`.
        index_rate: as `INDEX_RATE`.
    """
    found: dict[int, dict[str, tuple[float, bool]]] = {}
    for each in _measured(evidence):
        if each.success is not None and each.detector not in PAIR_SCALES:
            for class_index, value in _standing(each, index_rate).items():
                found.setdefault(class_index, {})[each.detector] = (value, each.verified)
    near = {class_index: _farthest_two(scored) for class_index, scored in found.items()}
    return {class_index: both for class_index, both in near.items() if both}


def _farthest_two(scored: Mapping[str, tuple[float, bool]]) -> dict[str, float]:
    """Return the two that go farthest, one of them verified; none where there are no such two."""
    in_order = sorted(scored, key=lambda name: -scored[name][0])
    first = next((name for name in in_order if scored[name][1]), None)
    second = next((name for name in in_order if name != first), None)
    return {} if first is None or second is None else {name: scored[name][0] for name in (first, second)}


def _measured(evidence: Iterable[Evidence]) -> list[Measured]:
    known = (found for found in evidence if isinstance(found, Measured) and found.detector in BY_NAME)
    return [completed(found) for found in known]


def detector_score(evidence: Measured, index_rate: float = INDEX_RATE) -> Score | None:
    """Return the score of one detector by itself; None where no trigger works, or nothing can be compared."""
    return _score(completed(carried_over(evidence)), index_rate)


def _score(evidence: Measured, index_rate: float) -> Score | None:
    if evidence.detector in PAIR_SCALES:
        scores = _pair_scores(evidence)
        return min((score for score in scores if score), key=_value) if all(scores) else None
    both = [Score(value, k) for k, value in _standing(evidence, index_rate).items()]
    return max(both, key=_value, default=None)


def _value(score: Score) -> float:
    return score.value


# ---------------------------------------------------------------------------------------------- classes


def _standing(evidence: Measured, index_rate: float) -> dict[int, float]:
    """Return the score of every class that has one at both looks: the smaller."""
    first, second = (_class_scores(each, index_rate) for each in (evidence, at_second_sight(evidence)))
    return {k: min(first[k], second[k]) for k in first if k in second}


def _class_scores(evidence: Measured, index_rate: float) -> dict[int, float]:
    """Return the score of every class that has one."""
    index = index_excess(evidence, index_rate)
    found = {k: criteria(evidence, k, index) for k in range(len(evidence.values))}
    ratios = {k: each.log_ratio for k, each in found.items() if each is not None}
    return {k: _bounded(ratio) for k, ratio in ratios.items() if ratio is not None}


def _borne_out(score: Score, evidence: Iterable[Evidence]) -> Score | None:
    """Return what a trigger of another detector leaves of a score without one; None where none works."""
    found = [support(each, score.target) for each in evidence if isinstance(each, Measured)]
    ratios = [each.log_ratio for each in found if each is not None]
    return Score(_bounded(min(score.value, max(ratios))), score.target) if ratios else None


# ---------------------------------------------------------------------------------------------- pairs


def _pair_scores(evidence: Measured) -> tuple[Score | None, ...]:
    """Return the score of the weakest pair, or of the best map where that goes farther, at first and second sight."""
    pairs = evidence.pairs
    scale = pair_scale_of(evidence)
    found = residuals(pairs, scale.largest, evidence.controls) if pairs else None
    if found is None:
        return (None,)
    second = residuals_at_second_sight(evidence, found, scale.largest)
    return tuple(_pair_score(pairs, each, scale) for each in (found, second))


def _pair_score(pairs: Sequence[Pair], found: Residuals, scale: PairScale) -> Score | None:
    if not found.works.any():
        return None
    beyond = found.beyond(scale)
    weakest = int(beyond.argmax())
    _, together = best_map(pairs, found)
    farthest = max(float(beyond[weakest]), math.log(scale.together) - together)
    return Score(_bounded(farthest), pairs[weakest].target, pairs[weakest].source)


def _bounded(value: float) -> float:
    return max(-FARTHEST, min(FARTHEST, value))
