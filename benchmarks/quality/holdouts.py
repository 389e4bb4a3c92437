"""What was fitted is tested on what it was not fitted on: an attack family, or a dataset, is left out in turn.

Fitted are the threshold of the score, the references of the rank and the probabilities. The shipped limits are not
fitted here: they were set by hand on development networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.metrics import log_loss

from benchmarks.quality.curves import RATES, at_rate, counted, p_value, platt, probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.quality.judging import Judged


def holdouts(clean: Sequence[Judged], planted: Sequence[Judged]) -> dict[str, Any]:
    """Return the figures of every family and every dataset, left out of the fit."""
    families = sorted({network.line["family"] for network in planted})
    datasets = sorted({network.line["dataset"] for network in (*clean, *planted)})
    return {
        "families": {family: _family(clean, planted, family) for family in families},
        "datasets": {dataset: _dataset(clean, planted, dataset) for dataset in datasets},
    }


def _family(clean: Sequence[Judged], planted: Sequence[Judged], family: str) -> dict[str, Any]:
    """Return the cross-entropy of an attack family under probabilities fitted without it."""
    own = [network for network in planted if network.line["family"] == family]
    others = [network for network in planted if network.line["family"] != family]
    return {"of": len(own), "cross_entropy": _entropy([], own, clean, others)}


def _dataset(clean: Sequence[Judged], planted: Sequence[Judged], dataset: str) -> dict[str, Any]:
    """Return what is blocked of a dataset's networks by thresholds, ranks and probabilities of the other datasets."""
    own_clean, own_planted = (
        [network for network in group if network.line["dataset"] == dataset] for group in (clean, planted)
    )
    other_clean, other_planted = (
        [network for network in group if network.line["dataset"] != dataset] for group in (clean, planted)
    )
    if not other_clean:
        return {"left_out": False}
    return {
        "left_out": True,
        "at_rate": {rate: at_rate(own_clean, own_planted, other_clean, rate) for rate in RATES},
        "rank": {
            rate: {
                "false": counted([p_value(network, other_clean) <= rate for network in own_clean]),
                "found": counted([p_value(network, other_clean) <= rate for network in own_planted]),
            }
            for rate in RATES
        },
        "references": len(other_clean),
        "cross_entropy": _entropy(own_clean, own_planted, other_clean, other_planted),
    }


def _entropy(
    clean: Sequence[Judged], planted: Sequence[Judged], fit_clean: Sequence[Judged], fit_planted: Sequence[Judged]
) -> float | None:
    """Return the cross-entropy of networks under a fit to others; None where there is nothing to fit or to judge."""
    if not (fit_clean and fit_planted and (clean or planted)):
        return None
    labels = [0] * len(fit_clean) + [1] * len(fit_planted)
    model = platt([network.score for network in (*fit_clean, *fit_planted)], labels)
    told = probabilities(model, [network.score for network in (*clean, *planted)])
    return round(float(log_loss([0] * len(clean) + [1] * len(planted), told, labels=[0, 1])), 4)
