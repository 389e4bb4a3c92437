"""Whether a verdict hangs on the seed: the same networks measured with several seeds, each judged by itself.

    python -m benchmarks.measure --split evaluation --seed 1 --only PATTERN --out seeds.jsonl    (once for each seed)
    python -m benchmarks.stability FILE...

A seed draws the clean images, their halves, the triggers' starts and the batches. The files are those of
`benchmarks.measure`; the lines of one network are those with its name. Writes `benchmarks/results/stability.md`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from benchmarks.circumstances import RESULTS, circumstances, told
from benchmarks.quality.figures import interval
from benchmarks.quality.judging import Judged, judged
from benchmarks.speeds.tables import table

FEWEST_SEEDS = 2


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def main(files: tuple[Path, ...]) -> None:
    """Judge every line, and tell which networks get more than one verdict."""
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    text = markdown(circumstances("benchmarks.stability", seed=0), by_network(lines))
    (RESULTS / "stability.md").write_text(text, encoding="utf-8")
    print(text)


def by_network(lines: list[dict[str, Any]]) -> dict[str, list[Judged]]:
    """Return the judged lines of each network that was measured with several seeds."""
    found: dict[str, dict[int, Judged]] = {}
    for line in lines:
        found.setdefault(line["name"], {})[line["seed"]] = judged(line)
    return {
        name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in found.items() if len(seeds) >= FEWEST_SEEDS
    }


def verdicts(network: list[Judged]) -> Counter[str]:
    """Return how often a network got each verdict."""
    return Counter(each.decision.verdict.value for each in network)


def markdown(about: dict[str, Any], networks: dict[str, list[Judged]]) -> str:
    """Return the figures as a document."""
    steady = sum(len(verdicts(network)) == 1 for network in networks.values())
    low, high = interval(steady, len(networks))
    scans = [each for network in networks.values() for each in network]
    blocked = [each for each in scans if each.blocked and each.line["role"] == "backdoored"]
    named = sum(each.named for each in blocked)
    rows: list[list[object]] = []
    for name, network in sorted(networks.items()):
        counted = ", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts(network).items()))
        scores = ", ".join(f"{each.score:.2f}" for each in network)
        rows.append([name, network[0].line["role"], counted, scores])
    return "\n".join(
        [
            "# Stability: the same networks, other seeds",
            "",
            told(about),
            "",
            "A seed draws the clean images, their halves, the starts and the batches. A score above 0 blocks.",
            "",
            f"- Networks with one verdict for all their seeds: {steady} of {len(networks)} ({low:.2f}-{high:.2f}).",
            f"- Blocked scans of backdoored networks with a planted target first: {named} of {len(blocked)}.",
            "",
            *table(["network", "role", "verdicts", "scores, seed by seed"], rows),
            "",
        ]
    )


if __name__ == "__main__":
    main()
