"""The part of the document that speaks of the whole decision's score."""

from __future__ import annotations

from typing import Any


def share(found: dict[str, Any] | None) -> str:
    """Return hits, count and interval; a dash where there is nothing to count."""
    if found is None:
        return "–"
    low, high = found["interval"]
    return f"{found['hits']} of {found['of']} ({low:.2f}-{high:.2f})"


def score_lines(name: str, found: dict[str, Any]) -> list[str]:
    """Return the lines about curves and ranks."""
    entropy = found["cross_entropy"]
    smallest = next(iter(found["rank"].values()))["smallest_rate"]
    return [
        "## The whole decision's score",
        "",
        "The farthest that any detector is beyond its limits, as a logarithm; above 0 is a block.",
        "",
        f"- AUROC {found['auroc']:.3f}: [curve](roc-{name}.svg).",
        f"- Cross-entropy {entropy['score']:.3f}, each network left out of the fit; {entropy['prior']:.3f} by chance.",
        "",
        "Threshold set on the same clean networks, and rank of each among the other clean ones (which needs as many",
        f"as 1/rate; here the smallest rate is {smallest:.3f}):",
        "",
        "| rate | threshold | clean beyond | found | clean by rank | found by rank |",
        "|---|---|---|---|---|---|",
        *(
            f"| {rate:g} | {found['at_rate'][rate]['threshold']:.2f} | {_pair(found['at_rate'][rate])} "
            f"| {_pair(found['rank'][rate])} |"
            for rate in found["at_rate"]
        ),
        "",
    ]


def holdout_lines(found: dict[str, Any]) -> list[str]:
    """Return the lines about what was left out of the fit."""
    left_out = {name: row for name, row in found["datasets"].items() if row["left_out"]}
    return [
        "Left out of the fit, an attack family at a time (cross-entropy of its networks):",
        "",
        "| family | networks | cross-entropy |",
        "|---|---|---|",
        *(f"| {name} | {row['of']} | {_number(row['cross_entropy'])} |" for name, row in found["families"].items()),
        "",
        "Left out of the fit, a dataset at a time (threshold and ranks of the other datasets' clean networks):",
        "",
        "| dataset | rate | clean beyond | found | clean by rank | found by rank | cross-entropy |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {rate:g} | {_pair(row['at_rate'][rate])} | {_pair(row['rank'][rate])} "
            f"| {_number(row['cross_entropy'])} |"
            for name, row in left_out.items()
            for rate in row["at_rate"]
        ),
        "",
    ]


def _pair(found: dict[str, Any]) -> str:
    return f"{share(found['false'])} | {share(found['found'])}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
