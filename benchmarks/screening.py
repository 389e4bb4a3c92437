"""How often a short search leaves out what is planted, see `backdoor_gate.scan.detectors.screening`.

Searches every class of the zoo's networks for a short time, with each detector that screens, and keeps the classes'
scores in `results/measured-screening.jsonl`. What counts as seen is a target that the full search of the same detector
blocks, by the lines of `benchmarks.measure`. With ten classes no tenth of a class can be kept, so a target is ranked
among the classes of all clean networks, each less its network's median: the share of them that comes before it is the
share that has to be searched in full. Networks of more than ten classes are ranked among their own.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch

from backdoor_gate.budgets import MOST_SEARCHED
from backdoor_gate.scan import loading, session
from backdoor_gate.scan.data.clean import load_clean
from backdoor_gate.scan.data.contract import agree, shape_of
from backdoor_gate.scan.detectors import DETECTORS
from backdoor_gate.scan.detectors.groups import approach_arms
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.detectors.screening import ONE_DRAWN_IN, SHORT
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import all_to_one
from benchmarks.circumstances import RESULTS, circumstances, told
from benchmarks.measure import ZOO, job
from benchmarks.quality.figures import interval
from benchmarks.quality.judging import Judged, judged
from benchmarks.speeds.tables import table

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = RESULTS / "measured-screening.jsonl"
FULL = ("measured-development.jsonl", "measured-evaluation.jsonl", "measured-100-classes.jsonl")
SCREENING = tuple(
    detector
    for detector in DETECTORS
    if isinstance(detector, InversionDetector) and detector.name != "ground_inversion"
)
"""Those that search on the clean images: what `ground_inversion` makes itself differs with the number of classes."""
CLASSES = (150, 200, 500, 1_000, 2_000)
ACTIVATIONS = 256 << 20


@click.command()
@click.option("--only", default=None, help="Measure no network but those with this in their names.")
@click.option("--threads", default=1)
def main(only: str | None, threads: int) -> None:
    """Measure the networks that are not yet in the output, and write the table anew."""
    torch.set_num_threads(threads)
    lines = [line for name in FULL for line in _lines(RESULTS / name)]
    done = {line["name"] for line in _lines(MEASURED)}
    for line in lines:
        folder = ZOO / line["name"]
        wanted = line["num_classes"] >= 10 and line["role"] in {"clean", "backdoored"} and (only or "") in line["name"]
        if not wanted or line["name"] in done or not (folder / "meta.json").exists():
            continue
        with MEASURED.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": line["name"], "scores": scores(folder)}) + "\n")
    found = {line["name"]: line["scores"] for line in _lines(MEASURED)}
    networks = [judged(line) for line in lines if line["name"] in found]
    text = markdown(circumstances("benchmarks.screening", seed=0), needed(networks, found), len(found))
    (RESULTS / "screening.md").write_text(text, encoding="utf-8")
    print(text)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def scores(folder: Path) -> dict[str, list[float]]:
    """Return each detector's (K,) scores of a short search; the lowest would be searched in full first."""
    order = job(folder, json.loads((folder / "meta.json").read_text("utf-8")), with_data=True, seed=0)
    assert order.data is not None
    clean = load_clean(order.data, order.declared, max_images=order.max_images, seed=order.seed)
    spec, classes = agree(order.declared, shape_of(clean), order.signature)
    torch.manual_seed(order.seed)
    model = loading.load(order.candidate, order.formats, order.architecture, classes)
    subject = Subject(model, spec, classes, torch.device("cpu"), time.monotonic() + 3600)
    probes, _ = session.prepare(subject, clean, order.seed)
    arms = all_to_one(subject.num_classes)
    context = Context(subject, probes, SHORT, order.seed, ACTIVATIONS)
    return {
        detector.name: [
            round(float(score), 4) for score in approach_arms(context, detector.family(spec), arms, probes.optimise)
        ]
        for detector in SCREENING
    }


def needed(networks: list[Judged], found: dict[str, dict[str, list[float]]]) -> dict[str, tuple[float, str]]:
    """Return, for each network that is blocked for a planted target, the least share to search in full, and by whom."""
    usual: dict[str, list[float]] = defaultdict(list)
    for network in networks:
        if network.line["role"] == "clean" and network.line["num_classes"] == 10:
            for name, each in found[network.line["name"]].items():
                usual[name] += (np.array(each) - np.median(each)).tolist()
    shares: dict[str, tuple[float, str]] = {}
    for network in networks:
        seen = [
            (_before(np.array(found[network.line["name"]][detector.name]), target, usual[detector.name]), detector.name)
            for detector in SCREENING
            for target in _seen(network, detector.name)
        ]
        if seen and network.line["role"] == "backdoored":
            shares[network.line["name"]] = min(seen)
    return shares


def _seen(network: Judged, detector: str) -> set[int]:
    """Return the planted targets that a detector blocks by itself."""
    result = network.result(detector)
    return (
        set() if result is None or not result.blocking else set(result.suspect_classes) & set(network.line["targets"])
    )


def _before(own: np.ndarray, target: int, usual: list[float]) -> float:
    """Return the share of classes that come before the target."""
    if len(own) > 10:
        return float((own < own[target]).mean())
    return float((np.array(usual) < own[target] - np.median(own)).mean())


def markdown(about: dict[str, Any], shares: dict[str, tuple[float, str]], measured: int) -> str:
    """Return the figures as a document."""
    kept = MOST_SEARCHED - MOST_SEARCHED // ONE_DRAWN_IN
    rows: list[list[object]] = []
    for classes in CLASSES:
        missed = [name for name, (share, _) in shares.items() if share > kept / classes]
        low, high = interval(len(missed), len(shares))
        rows.append([classes, f"{kept / classes:.1%}", f"{len(missed)} of {len(shares)}", f"{low:.3f} to {high:.3f}"])
    worst = sorted(((share, name, by) for name, (share, by) in shares.items()), reverse=True)[:12]
    return "\n".join(
        [
            "# Screening: what a short search leaves out",
            "",
            told(about),
            "",
            f"{measured} networks were searched for {SHORT['steps']} steps of {SHORT['images']} images. {len(shares)}",
            "backdoored ones among them are blocked for a planted target by a search from all classes to one. The",
            f"table says how often that is left out where the {kept} classes that look weakest are searched in full.",
            "",
            *table(["classes", "kept", "left out", "95 % interval"], rows),
            "",
            "The networks that need the largest shares:",
            "",
            *table(["network", "share", "detector"], [[name, f"{share:.1%}", by] for share, name, by in worst]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
