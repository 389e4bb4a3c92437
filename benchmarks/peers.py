"""Compare the gate with what others do on the same network and images, in one run.

    python -m benchmarks.peers [--network NAME] [--part ours|sequential|art]... [--classes N] [--art PYTHON] [--seed N]

`ours`: the detector `neural_cleanse` at its defaults, and the whole default set. `sequential`: Neural Cleanse at
published defaults, class by class; with `--classes` fewer than there are, its cost is that of those, multiplied.
`art`: three methods of the Adversarial Robustness Toolbox, run by the interpreter `--art`; make one with

    python -m venv /tmp/art && /tmp/art/bin/pip install adversarial-robustness-toolbox torch safetensors scikit-learn

Every method is a process of its own; seconds leave out its start. Figures go to `benchmarks/results/peers.json` and
`peers.md`; parts that are not run keep theirs, with the circumstances of their own run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.circumstances import RESULTS, ROOT, circumstances, told
from benchmarks.speeds.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator

ZOO = ROOT / "benchmarks" / "work" / "zoo"
PARTS = ("ours", "sequential", "art")
ART = ("activation_clustering", "spectral_signatures", "strip")
OURS = "ours: neural_cleanse"
SEQUENTIAL = "Neural Cleanse, sequential"


@click.command()
@click.option("--network", default="dev-101-fashion-mnist-cnn-badnets", show_default=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Left out: all.")
@click.option("--classes", default=2, show_default=True, help="Classes that the sequential method runs.")
@click.option("--art", type=click.Path(path_type=Path), default=None, help="Interpreter with the toolbox.")
@click.option("--art-images", default=2500, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(  # noqa: PLR0913, PLR0917 (one argument per option)
    network: str, parts: tuple[str, ...], classes: int, art: Path | None, art_images: int, seed: int
) -> None:
    """Run the methods, keep the figures, write the table."""
    folder = ZOO / network
    if not folder.exists():
        print(f"skipped: {network} is not trained; see python -m benchmarks.zoo.train")
        return
    path = RESULTS / "peers.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = kept.setdefault(network, {})
    for part in parts or PARTS:
        about = circumstances("benchmarks.peers", seed)
        for name, result in _METHODS[part](folder, classes, art, art_images, seed):
            rows[name] = {"circumstances": about} | result
            print(json.dumps({name: result}, indent=1), flush=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "peers.md").write_text(markdown(kept), encoding="utf-8")


def _ours(folder: Path, _classes: int, _art: Path | None, _images: int, seed: int) -> Iterator[tuple[str, Any]]:
    for name, detectors in ((OURS, "neural_cleanse"), ("ours: the default set", "")):
        yield name, run(sys.executable, "ours", folder, detectors, seed)


def _sequential(folder: Path, classes: int, _art: Path | None, _images: int, seed: int) -> Iterator[tuple[str, Any]]:
    yield SEQUENTIAL, run(sys.executable, "sequential", folder, classes, seed)


def _art(folder: Path, _classes: int, art: Path | None, images: int, seed: int) -> Iterator[tuple[str, Any]]:
    for name in ART:
        reason = {"skipped": "no interpreter with the toolbox was named (--art)"}
        yield f"ART: {name}", run(art, "art_methods", folder, name, images, seed) if art else reason


_METHODS = {"ours": _ours, "sequential": _sequential, "art": _art}


def run(interpreter: Path | str, method: str, *arguments: object) -> dict[str, Any]:
    """Return what a method's process says at its end; why not, where it fails."""
    command = [str(interpreter), "-m", f"benchmarks.peer_methods.{method}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"skipped": f"{method} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def markdown(kept: dict[str, Any]) -> str:
    """Return all figures as a document."""
    lines = ["# Against peers", "", "Written by `python -m benchmarks.peers`; more figures are in `peers.json`."]
    for network, rows in kept.items():
        lines += ["", f"## {network}", ""]
        head = ["method", "clean images", "passes", "CPU s", "wall s", "peak MiB", "verdict", "classes"]
        lines += table(head, [_row(name, row) for name, row in rows.items()])
        lines += ["", *_ratios(rows), "", *_notes(rows), ""]
        for about in {json.dumps(row["circumstances"]): row["circumstances"] for row in rows.values()}.values():
            lines += [told(about), ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(name: str, row: dict[str, Any]) -> list[object]:
    if "skipped" in row:
        return [name, "–", "–", "–", "–", "–", row["skipped"], "–"]
    figures = [row[key] for key in ("images", "passes", "cpu_seconds", "wall_seconds", "peak_mib", "verdict")]
    return [name, *figures, ", ".join(map(str, row.get("classes", []))) or "–"]


def _ratios(rows: dict[str, Any]) -> list[str]:
    """Say how many times the sequential method's cost is ours."""
    ours, theirs = rows.get(OURS), rows.get(SEQUENTIAL)
    if not ours or not theirs or "skipped" in ours or "skipped" in theirs:
        return []
    ratios = {
        what: theirs[key] / max(ours[key], 1e-9)
        for what, key in (("passes", "passes"), ("CPU time", "cpu_seconds"), ("wall time", "wall_seconds"))
    }
    told_ratios = ", ".join(f"{ratio:.0f} times the {what}" for what, ratio in ratios.items())
    part = "" if theirs["classes_run"] == theirs["of"] else f" (from {theirs['classes_run']} of {theirs['of']} classes)"
    return [f"Sequential over ours: {told_ratios}{part}."]


def _notes(rows: dict[str, Any]) -> list[str]:
    return [
        f"- {name}: finds {row['poison_found']:.0%} of {row['poisoned']} poisoned samples, takes"
        f" {row['clean_taken_for_poison']:.1%} of the clean ones for poison."
        for name, row in rows.items()
        if "poison_found" in row
    ]


if __name__ == "__main__":
    main()
