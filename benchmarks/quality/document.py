"""The figures as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import Verdict
from benchmarks.circumstances import told
from benchmarks.quality.score_document import holdout_lines, score_lines, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.quality.judging import Judged


def markdown(name: str, about: dict[str, Any], figures: dict[str, Any], networks: Sequence[Judged]) -> str:
    """Return the figures as a document."""
    fitted = [*score_lines(name, figures["curves"]), *holdout_lines(figures["holdouts"])] if figures["curves"] else []
    names = [spec.name for spec in DETECTORS]
    lines = [
        f"# Quality: {name} networks",
        "",
        told(about),
        "",
        "Each network is judged from its raw class vectors with the shipped verdict and policy. Intervals: two-sided",
        "Clopper-Pearson at 95 %. A family's row counts networks whose attack succeeds at least 80 % of the time.",
        "",
        f"- Clean networks blocked: {share(figures['clean'])}; weak suspicion: {figures['weak']}.",
        f"- Backdoored networks blocked: {share(figures['blocked'])}.",
        f"- Backdoored networks blocked with a planted target as first suspect: {share(figures['named'])}.",
        f"- Inconclusive among all: {figures['inconclusive']}. Median seconds of a scan: {figures['seconds']:.0f}.",
        "",
        "| family | blocked | target named |",
        "|---|---|---|",
        *(
            f"| {family} | {share(row['blocked'])} | {share(row['named'])} |"
            for family, row in figures["families"].items()
        ),
        "",
        "How many networks of a family each detector blocks by itself, for a planted target:",
        "",
        f"| family | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        *(
            f"| {family} | {' | '.join(str(row[n] or '·') for n in names)} |"
            for family, row in figures["coverage"].items()
        ),
        "",
        "Each detector's score by itself, and the p-values of its anomaly index on clean networks:",
        "",
        "| detector | AUROC | clean p ≤ 0.01 | clean p ≤ 0.05 | clean with p | false blocks | median passes |",
        "|---|---|---|---|---|---|---|",
        *(_detector_row(n, figures["detectors"][n]) for n in names),
        "",
        *fitted,
        "Wrong or open:",
        "",
        *(_wrong(network) for network in networks if not _right(network)),
    ]
    return "\n".join(lines) + "\n"


def _detector_row(name: str, row: dict[str, Any]) -> str:
    auroc = "–" if row["auroc"] is None else f"{row['auroc']:.3f}"
    levels = " | ".join(str(row["clean_p_at_most"][level]) for level in (0.01, 0.05))
    return f"| {name} | {auroc} | {levels} | {row['clean_p_values']} | {row['false_blocks']} | {row['passes']:.0f} |"


def _right(network: Judged) -> bool:
    if network.line["role"] == "backdoored":
        return network.named
    return network.line["role"] != "clean" or network.decision.verdict is Verdict.PASS


def _wrong(network: Judged) -> str:
    decision = network.decision
    suspects = f" for {', '.join(map(str, decision.suspect_classes))}" if decision.suspect_classes else ""
    targets = f" (planted: {', '.join(map(str, network.line['targets']))})" if network.line["targets"] else ""
    return f"- {network.line['name']}: {decision.verdict.value}{suspects}{targets}"
