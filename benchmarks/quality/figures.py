"""Counts of what the gate says: false blocks, blocks and right targets by family, the coverage matrix, passes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import Suspicion, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.quality.judging import Judged

CONFIDENCE = 0.95


def interval(hits: int, count: int) -> tuple[float, float]:
    """Return the two-sided Clopper-Pearson interval of a share."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if hits == count else float(beta.ppf(1 - tail, hits + 1, count - hits))
    return round(low, 3), round(high, 3)


def share(networks: list[Judged], attribute: str) -> dict[str, Any]:
    """Return how many of the networks have a property, with its interval."""
    hits = sum(getattr(network, attribute) for network in networks)
    return {"hits": hits, "of": len(networks), "interval": interval(hits, len(networks))}


def by_role(networks: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Return the clean networks, and the backdoored ones."""
    clean = [network for network in networks if network.line["role"] == "clean"]
    return clean, [network for network in networks if network.line["role"] == "backdoored"]


def summary(networks: list[Judged]) -> dict[str, Any]:
    """Return all figures of a set of networks."""
    clean, planted = by_role(networks)
    families = defaultdict(list)
    for network in planted:
        families[network.line["family"]].append(network)
    return {
        "clean": share(clean, "blocked") if clean else None,
        "weak": sum(network.decision.suspicion is Suspicion.WEAK for network in clean),
        "inconclusive": sum(network.decision.verdict is Verdict.INCONCLUSIVE for network in networks),
        "blocked": share(planted, "blocked") if planted else None,
        "named": share(planted, "named") if planted else None,
        "families": {
            family: {"blocked": share(found, "blocked"), "named": share(found, "named")}
            for family, found in sorted(families.items())
        },
        "coverage": {
            family: {spec.name: sum(network.blocked_by(spec.name) for network in found) for spec in DETECTORS}
            for family, found in sorted(families.items())
        },
        "detectors": {spec.name: _detector(spec.name, clean, planted) for spec in DETECTORS},
        "seconds": statistics.median(network.line["seconds"] for network in networks),
    }


def _detector(name: str, clean: list[Judged], planted: list[Judged]) -> dict[str, Any]:
    """Return what one detector's score and p-value say by themselves."""
    results = [(network.result(name), label) for label, group in enumerate((clean, planted)) for network in group]
    groups = enumerate((clean, planted))
    scored = [(s, label) for label, group in groups for n in group if (s := n.score_of(name)) is not None]
    p_values = [r.p_value for r, label in results if r is not None and label == 0 and r.p_value is not None]
    labels = [label for _, label in scored]
    return {
        "auroc": round(roc_auc_score(labels, [score for score, _ in scored]), 3) if len(set(labels)) == 2 else None,
        "clean_p_at_most": {level: sum(p <= level for p in p_values) for level in (0.01, 0.05)},
        "clean_p_values": len(p_values),
        "false_blocks": sum(r is not None and r.blocking for r, label in results if label == 0),
        "passes": statistics.median(_passes(network, name) for network in (*clean, *planted)),
    }


def _passes(network: Judged, name: str) -> int:
    return int(network.line["detectors"].get(name, {}).get("model_passes", 0))
