"""Curves of the whole decision's score: ROC, detection at a false-block rate, cross-entropy, calibration of the rank.

All from the scores alone; the rank's p-values are those of `verdict.conformal`, with other clean networks as
references.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score, roc_curve

from backdoor_gate.verdict.conformal import standing
from benchmarks.quality.figures import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.quality.judging import Judged

RATES = (0.01, 0.05)


def curves(clean: Sequence[Judged], planted: Sequence[Judged]) -> dict[str, Any] | None:
    """Return all figures of the score; None without both kinds of networks."""
    if len(clean) < 2 or len(planted) < 2:
        return None
    labels = [0] * len(clean) + [1] * len(planted)
    scores = [network.score for network in (*clean, *planted)]
    false, true, thresholds = roc_curve(labels, scores)
    return {
        "auroc": round(float(roc_auc_score(labels, scores)), 4),
        "roc": [
            [round(float(x), 4), round(float(y), 4), None if math.isinf(t) else round(float(t), 4)]
            for x, y, t in zip(false, true, thresholds, strict=True)
        ],
        "at_rate": {rate: at_rate(clean, planted, clean, rate) for rate in RATES},
        "cross_entropy": {"score": left_out_entropy(scores, labels), "prior": _prior_entropy(labels)},
        "rank": {rate: _rank(clean, planted, rate) for rate in RATES},
    }


def at_rate(
    clean: Sequence[Judged], planted: Sequence[Judged], tuned_on: Sequence[Judged], rate: float
) -> dict[str, Any]:
    """Return what is found above the score that at most this share of some clean networks exceed.

    Args:
        clean: networks to count as false.
        planted: networks to count as found; `named` are those with a planted target as first suspect by then.
        tuned_on: clean networks that give the threshold.
        rate: accepted share of them.
    """
    ordered = sorted((network.score for network in tuned_on), reverse=True)
    threshold = ordered[min(math.floor(rate * len(ordered)), len(ordered) - 1)]
    return {
        "threshold": round(threshold, 4),
        "false": counted([network.score > threshold for network in clean]),
        "found": counted([network.score > threshold for network in planted]),
    }


def counted(hits: Sequence[bool]) -> dict[str, Any] | None:
    """Return how many of some networks are hits, with the Clopper-Pearson interval; None of none."""
    return {"hits": sum(hits), "of": len(hits), "interval": interval(sum(hits), len(hits))} if hits else None


# ---------------------------------------------------------------------------------------------- probabilities


def platt(scores: Sequence[float], labels: Sequence[int]) -> LogisticRegression:
    """Return the logistic regression of the labels on the score (Platt, 1999), lightly regularised."""
    return LogisticRegression(C=10.0).fit(np.array(scores)[:, None], labels)


def probabilities(model: LogisticRegression, scores: Sequence[float]) -> list[float]:
    """Return the probability of a backdoor for each score."""
    return [float(p) for p in model.predict_proba(np.array(scores)[:, None])[:, 1]]


def left_out_entropy(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Return the mean cross-entropy in nats, each network judged by a fit to all others."""
    told = []
    for at in range(len(scores)):
        others = [k for k in range(len(scores)) if k != at]
        told += probabilities(platt([scores[k] for k in others], [labels[k] for k in others]), [scores[at]])
    return round(float(log_loss(labels, told, labels=[0, 1])), 4)


def _prior_entropy(labels: Sequence[int]) -> float:
    """Return the cross-entropy of who knows the share of backdoored networks and nothing else."""
    share = sum(labels) / len(labels)
    return round(-share * math.log(share) - (1 - share) * math.log(1 - share), 4)


# ---------------------------------------------------------------------------------------------- ranks


def _rank(clean: Sequence[Judged], planted: Sequence[Judged], rate: float) -> dict[str, Any]:
    """Return what the rank among clean networks blocks; a clean network is ranked among the others."""
    others = ([other for other in clean if other is not network] for network in clean)
    return {
        "false": counted([p_value(network, rest) <= rate for network, rest in zip(clean, others, strict=True)]),
        "found": counted([p_value(network, clean) <= rate for network in planted]),
        "smallest_rate": round(1 / len(clean), 4),
    }


def p_value(network: Judged, references: Sequence[Judged]) -> float:
    """Return the p-value of a network among references."""
    return standing(network.subject, [reference.subject for reference in references]).p_value
