"""Measure every network of the zoo with the shipped detectors and keep the raw class vectors.

    python -m benchmarks.measure --split development [--networks FOLDER] [--only PATTERN] [--no-data | --images N]
        [--detector NAME ...] [--out FILE]

Each line of the output is one network: what it is, and every detector's values and success rates. Statistics and
thresholds can be worked out from these lines without the networks. Networks that are already in
the file are skipped, so a run can be interrupted.
"""

from __future__ import annotations

import fnmatch
import json
import sys
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from backdoor_gate.catalogue import DETECTORS, PACK_VERSION, DetectorPlan
from backdoor_gate.records import Architecture, Declared, Evidence, Job, Limits, Measured
from backdoor_gate.scan import session
from benchmarks.zoo import data as zoo_data

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "benchmarks" / "work" / "zoo"
KEPT = (
    "name", "split", "dataset", "network", "family", "role", "targets", "num_classes", "input_shape", "attack_success"
)  # fmt: skip
"""What a line keeps of a network's manifest."""


def clean_file(meta: dict[str, Any]) -> Path:
    """Return an npz of test images of a network's classes, written once."""
    classes = tuple(meta["classes"]) if meta["classes"] else None
    name = meta["dataset"] + ("" if classes is None else "-" + "-".join(map(str, classes)))
    path = ROOT / "benchmarks" / "work" / "data" / f"{name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = zoo_data.load(meta["dataset"])
        dataset = dataset.subset(classes) if classes else dataset
        np.savez(path, images=dataset.test_images.numpy(), labels=dataset.test_labels.numpy())
    return path


def job(  # noqa: PLR0913 (one argument per option)
    folder: Path,
    meta: dict[str, Any],
    *,
    with_data: bool,
    seed: int,
    images: int | None = None,
    detectors: tuple[str, ...] = (),
) -> Job:
    """Return the scan of one network with detectors at their default settings, on so many clean images at most.

    Args:
        folder: of the network.
        meta: its manifest.
        with_data: whether there are clean images.
        seed: of the scan.
        images: clean ones at most; None: as a scan takes them.
        detectors: their names; empty for all.
    """
    kwargs = tuple(sorted(meta["architecture"]["kwargs"].items()))
    chosen = (spec for spec in DETECTORS if not detectors or spec.name in detectors)
    plans = tuple(DetectorPlan(spec.name, spec.required, spec.defaults()) for spec in chosen)
    return Job(
        candidate=folder,
        formats=("safetensors",),
        declared=Declared(num_classes=meta["num_classes"], shape=tuple(meta["input_shape"])),
        signature=None,
        architecture=Architecture(meta["architecture"]["target"], ROOT, kwargs, digest=""),
        data=clean_file(meta) if with_data else None,
        max_images=images,
        detectors=plans,
        device="auto",
        seed=seed,
        limits=Limits(seconds=3600, memory=8 << 30),
    )


def row(evidence: Evidence) -> dict[str, Any]:
    """Return one detector's evidence as plain JSON values."""
    if not isinstance(evidence, Measured):
        return {"missing": evidence.reason}
    cost = {"seconds": round(evidence.cost.seconds, 2), "model_passes": evidence.cost.model_passes}
    told: dict[str, Any] = {"values": evidence.values, "success": evidence.success, "verified": evidence.verified}
    told |= cost
    rows: dict[str, Any] = {"pairs": evidence.pairs, "confirmations": evidence.confirmations}
    rows |= {"controls": evidence.controls, "means": evidence.means}
    told |= {name: [list(astuple(each)) for each in found] for name, found in rows.items() if found}
    return told | ({} if evidence.screening is None else {"screening": astuple(evidence.screening)})


@click.command()
@click.option("--split", default="development", type=click.Choice(["development", "evaluation"]))
@click.option("--networks", type=click.Path(path_type=Path), default=ZOO, help="Folder of networks, with meta.json.")
@click.option("--only", default="*", help="Pattern of network names.")
@click.option("--no-data", is_flag=True, help="Measure on synthetic probes.")
@click.option("--images", type=int, default=None, help="Clean images at most; as a scan takes them where left out.")
@click.option("--detector", "detectors", multiple=True, metavar="NAME", help="These detectors alone; repeatable.")
@click.option("--seed", default=0)
@click.option("--threads", default=0, help="0: as many as there are cores.")
@click.option("--out", type=click.Path(path_type=Path), default=None)
def main(  # noqa: PLR0913, PLR0917 (one argument per option)
    split: str,
    networks: Path,
    only: str,
    no_data: bool,
    images: int | None,
    detectors: tuple[str, ...],
    seed: int,
    threads: int,
    out: Path | None,
) -> None:
    """Measure the networks that are there and not yet in the output."""
    if threads:
        torch.set_num_threads(threads)
    out = out or ROOT / "benchmarks" / "results" / f"measured-{split}{'-no-data' if no_data else ''}.jsonl"
    done = {json.loads(line)["name"] for line in out.read_text().splitlines()} if out.exists() else set()
    for path in sorted(networks.glob("*/meta.json")):
        meta = json.loads(path.read_text())
        if meta["split"] != split or meta["name"] in done or not fnmatch.fnmatch(meta["name"], only):
            continue
        started = time.monotonic()
        asked = job(path.parent, meta, with_data=not no_data, seed=seed, images=images, detectors=detectors)
        scan = session.measure(asked, lambda _: None)
        line = {key: meta[key] for key in KEPT} | {
            "detector_pack": PACK_VERSION,
            "accuracy": scan.data.accuracy,
            "seed": seed,
            "images": scan.data.images,
            "seconds": round(time.monotonic() - started, 1),
            "noise_classes": next((e.noise_classes for e in scan.evidence if isinstance(e, Measured)), ()),
            "detectors": {evidence.detector: row(evidence) for evidence in scan.evidence},
        }
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(meta["name"], line["seconds"], "s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
