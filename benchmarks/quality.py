"""Judge measured networks and tell how often the verdict is right.

    python -m benchmarks.quality FILE... [--name NAME]

Reads raw class vectors as `benchmarks.measure` writes them, judges each network with the shipped verdict and policy,
and writes `benchmarks/results/quality-NAME.json` and `.md`: false blocks among clean networks, blocks and right
targets by attack family (with Clopper-Pearson intervals), the coverage matrix of detector and family, AUROC,
calibration of the p-values, seconds and passes. Only networks whose attack works (success of 0.8 or more) count as
backdoored.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import (
    Cost,
    DataFacts,
    Decision,
    DetectorResult,
    Evidence,
    Inconclusive,
    InputSpec,
    Measured,
    NotApplicable,
    Pair,
    Runtime,
    Scan,
    Suspicion,
    Verdict,
)
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.judgement import Judgement
from benchmarks.circumstances import RESULTS, circumstances, told

FALSE_BLOCK_RATE = 0.01
MAX_UNMEASURED = 0.2
"""As in the shipped policy."""
REQUIRED = tuple(spec.name for spec in DETECTORS if spec.required)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judged:
    """One network: its measured line, and what the gate says."""

    line: dict[str, Any]
    decision: Decision

    @property
    def blocked(self) -> bool:
        """Whether it is blocked."""
        return self.decision.verdict is Verdict.BLOCK

    @property
    def named(self) -> bool:
        """Whether the first suspect is a planted target."""
        return self.blocked and self.decision.suspect_classes[0] in self.line["targets"]

    def blocked_by(self, detector: str) -> bool:
        """Whether this detector alone blocks it, for a planted target."""
        found = self.result(detector)
        return found is not None and found.blocking and bool(set(found.suspect_classes) & set(self.line["targets"]))

    def result(self, detector: str) -> DetectorResult | None:
        """Return a detector's result, None where it did not run."""
        return next((result for result in self.decision.detectors if result.name == detector), None)


def judged(line: dict[str, Any]) -> Judged:
    """Judge one measured line as the shipped policy would."""
    evidence = tuple(_evidence(name, row, line["num_classes"]) for name, row in line["detectors"].items())
    data = DataFacts("synthetic" if line["accuracy"] is None else "clean", 500, line["accuracy"])
    scan = Scan(line["num_classes"], InputSpec((1, 1, 1)), "safetensors", data, evidence, Runtime("", "", "", 0))
    return Judged(line, decide(scan, Judgement(FALSE_BLOCK_RATE, REQUIRED, MAX_UNMEASURED)))


def _evidence(name: str, row: dict[str, Any], classes: int) -> Evidence:
    if "missing" in row and classes == 2 and name.startswith("pair_"):
        return NotApplicable(name, row["missing"], by_candidate=False)
    if "missing" in row:
        return Inconclusive(name, row["missing"])
    return Measured(
        name,
        tuple(row["values"]),
        success=None if row["success"] is None else tuple(row["success"]),
        verified=row["verified"],
        cost=Cost(row["seconds"], row["model_passes"]),
        pairs=tuple(Pair(*pair) for pair in row.get("pairs", ())),
    )


# ---------------------------------------------------------------------------------------------- figures


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


def summary(networks: list[Judged]) -> dict[str, Any]:
    """Return all figures of a set of networks."""
    clean = [network for network in networks if network.line["role"] == "clean"]
    planted = [network for network in networks if network.line["role"] == "backdoored"]
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
    """Return what one detector's index and p-value say by themselves."""
    results = [(network.result(name), label) for label, group in enumerate((clean, planted)) for network in group]
    scored = [(r.anomaly_index, label) for r, label in results if r is not None and r.anomaly_index is not None]
    p_values = [r.p_value for r, label in results if r is not None and label == 0 and r.p_value is not None]
    labels = [label for _, label in scored]
    return {
        "auroc": round(roc_auc_score(labels, [index for index, _ in scored]), 3) if len(set(labels)) == 2 else None,
        "clean_p_at_most": {level: sum(p <= level for p in p_values) for level in (0.01, 0.05)},
        "clean_p_values": len(p_values),
        "false_blocks": sum(r is not None and r.blocking for r, label in results if label == 0),
        "passes": statistics.median(_passes(network, name) for network in (*clean, *planted)),
    }


def _passes(network: Judged, name: str) -> int:
    return int(network.line["detectors"].get(name, {}).get("model_passes", 0))


# ---------------------------------------------------------------------------------------------- the document


def _of(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    low, high = found["interval"]
    return f"{found['hits']} of {found['of']} ({low:.2f}-{high:.2f})"


def markdown(name: str, about: dict[str, Any], figures: dict[str, Any], networks: list[Judged]) -> str:
    """Return the figures as a document."""
    names = [spec.name for spec in DETECTORS]
    lines = [
        f"# Quality: {name} networks",
        "",
        told(about),
        "",
        "Each network is judged from its raw class vectors with the shipped verdict and policy. Intervals: two-sided",
        "Clopper-Pearson at 95 %. A family's row counts networks whose attack succeeds at least 80 % of the time.",
        "",
        f"- Clean networks blocked: {_of(figures['clean'])}; weak suspicion: {figures['weak']}.",
        f"- Backdoored networks blocked: {_of(figures['blocked'])}.",
        f"- Backdoored networks blocked with a planted target as first suspect: {_of(figures['named'])}.",
        f"- Inconclusive among all: {figures['inconclusive']}. Median seconds of a scan: {figures['seconds']:.0f}.",
        "",
        "| family | blocked | target named |",
        "|---|---|---|",
        *(f"| {family} | {_of(row['blocked'])} | {_of(row['named'])} |" for family, row in figures["families"].items()),
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
        "Each detector's anomaly index by itself, and its p-values on clean networks:",
        "",
        "| detector | AUROC | clean p ≤ 0.01 | clean p ≤ 0.05 | clean with p | false blocks | median passes |",
        "|---|---|---|---|---|---|---|",
        *(_detector_row(n, figures["detectors"][n]) for n in names),
        "",
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


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--name", default="development", show_default=True, help="Of the set of networks, for the files' names.")
def main(files: tuple[Path, ...], name: str) -> None:
    """Judge every line of the files and write the figures."""
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    networks = [judged(line) for line in lines]
    about = circumstances("benchmarks.quality", seed=0, packages=("backdoor-gate", "numpy", "scikit-learn"))
    figures = summary(networks)
    result = {
        "circumstances": about,
        "figures": figures,
        "networks": [
            {"name": n.line["name"], "verdict": n.decision.verdict.value, "suspects": n.decision.suspect_classes}
            for n in networks
        ],
    }
    text = markdown(name, about, figures, networks)
    (RESULTS / f"quality-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"quality-{name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
