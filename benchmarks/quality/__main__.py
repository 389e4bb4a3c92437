"""Reads the files, judges every line, and writes the results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.circumstances import RESULTS, circumstances
from benchmarks.quality.curves import curves
from benchmarks.quality.document import markdown
from benchmarks.quality.figures import by_role, summary
from benchmarks.quality.holdouts import holdouts
from benchmarks.quality.judging import judged
from benchmarks.quality.picture import draw_roc


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--name", default="development", show_default=True, help="Of the set of networks, for the files' names.")
def main(files: tuple[Path, ...], name: str) -> None:
    """Judge every line of the files and write the figures."""
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    networks = [judged(line) for line in lines]
    about = circumstances("benchmarks.quality", seed=0, packages=("backdoor-gate", "numpy", "scikit-learn"))
    clean, planted = by_role(networks)
    figures = summary(networks) | {"curves": curves(clean, planted), "holdouts": holdouts(clean, planted)}
    result = {
        "circumstances": about,
        "figures": figures,
        "networks": [
            {
                "name": n.line["name"],
                "verdict": n.decision.verdict.value,
                "suspects": n.decision.suspect_classes,
                "score": round(n.score, 4),
            }
            for n in networks
        ],
    }
    text = markdown(name, about, figures, networks)
    (RESULTS / f"quality-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"quality-{name}.md").write_text(text, encoding="utf-8")
    if figures["curves"]:
        draw_roc(figures["curves"], f"{name} networks", RESULTS / f"roc-{name}.svg")
    print(text)


if __name__ == "__main__":
    main()
