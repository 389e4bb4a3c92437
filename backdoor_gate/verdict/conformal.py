"""Where a model stands among references: one statistic, ranked once.

Each detector's scores are centred on their median over models of the same kind, and scaled by one robust spread over
all models, the one under test among them; the statistic is the largest such deviation, and its rank a conformal
p-value. As every model enters the centring alike, the rank is exact for references of one kind, however the detectors
depend on each other. Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.verdict.statistics import CONSISTENCY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from backdoor_gate.verdict.references import ModelKind

LEAST_COUNTED_SCORE = math.log(0.5)
"""Score from which one counts: a trigger twice as strong as the shipped limits allow. What is weaker evidence than
that blocks nothing, however far it stands from the references."""

FEWEST_ALIKE = 10
"""Models of one kind, that under test included, whose median is taken for the kind's; and references of the kind of the
model under test without which nothing is said of it."""

LEAST_SPREAD = 0.1
"""Spread of scores below which differences are those of one run from the next."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A model as it is ranked.

    Attributes:
        kind: of which the median is taken out.
        blocked: whether the shipped limits block it.
        scores: by detector.
    """

    kind: ModelKind
    blocked: bool
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a model stands.

    Attributes:
        p_value: share of references and model that stand at least as far out; 1 where the model has no score that
            counts.
        detector: that stands farthest out among those whose score counts; None where none does.
    """

    p_value: float
    detector: str | None


def standing(model: Ranked, references: Sequence[Ranked]) -> Standing:
    """Rank a model among references."""
    names, deviations = standardised([*references, model])
    farthest = statistics([*references, model], deviations)
    own = deviations[-1]
    leading = names[int(np.argmax(own))] if len(names) and np.isfinite(own).any() else None
    if farthest[-1] == -math.inf:
        return Standing(1.0, None)
    return Standing(float(np.sum(farthest >= farthest[-1])) / len(farthest), leading)


def standardised(models: Sequence[Ranked]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the detectors' names, and how far each model's scores are out.

    Returns:
        (D,) names and (N, D) deviations in robust standard deviations; -inf where there is no score, or one below
        LEAST_COUNTED_SCORE.
    """
    names = tuple(sorted({name for model in models for name in model.scores}))
    scores = np.array([[model.scores.get(name, math.nan) for name in names] for model in models])
    scores = scores.reshape(len(models), len(names))
    kinds = [(model.kind.classes, model.kind.shape) for model in models]
    alike = {kind: np.array([other == kind for other in kinds]) for kind in set(kinds)}
    deviations = np.full(scores.shape, -math.inf)
    for d in range(len(names)):
        values = scores[:, d]
        known = np.isfinite(values)
        centred = values - np.median(values[known])
        for members in alike.values():
            own = members & known
            if own.sum() >= FEWEST_ALIKE:
                centred[own] = values[own] - np.median(values[own])
        spread = max(CONSISTENCY * float(np.median(np.abs(centred[known]))), LEAST_SPREAD)
        counts = known & (values >= LEAST_COUNTED_SCORE)
        deviations[counts, d] = centred[counts] / spread
    return names, deviations


def statistics(models: Sequence[Ranked], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N,) statistic: the farthest deviation, and infinity for what the shipped limits block."""
    farthest = deviations.max(axis=1, initial=-math.inf)
    return np.where([model.blocked for model in models], math.inf, farthest)


# ---------------------------------------------------------------------------------------------- rates


def references_needed(rate: float, blocked: int) -> int:
    """Return how many references a rate needs, where the limits block so many of them."""
    return math.ceil((1 + blocked) / rate - 1 - 1e-9)


def likely_bound(references: int, rate: float, confidence: float = 0.95) -> float:
    """Return what the rate of these very references is at most, with some confidence.

    Over all draws of references the rate is kept on average; given one draw it is Beta distributed (Vovk, Conditional
    validity of inductive conformal predictors, 2012).

    Args:
        references: number n; `rate` must be at least 1/(n + 1).
        rate: that the references are used for.
        confidence: in (0, 1).
    """
    from scipy.stats import beta  # noqa: PLC0415 (slow to import, and `policy check` is not)

    rank = math.floor(rate * (references + 1) + 1e-9)
    return float(beta.ppf(confidence, rank, references + 1 - rank))


def share_bound(hits: int, count: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper Clopper-Pearson bound of a share, 1 where all cases are hits or there are none."""
    from scipy.stats import beta  # noqa: PLC0415 (as above)

    return 1.0 if hits == count else float(beta.ppf(confidence, hits + 1, count - hits))
