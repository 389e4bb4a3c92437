"""What bfloat16 changes in the evidence, beside what another seed changes: on networks of the development set.

The gate searches in bfloat16 where that pays, and measures in float32. Here it searches in float32 too.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from typing import Any
from unittest import mock

from backdoor_gate.records import Measured
from backdoor_gate.scan import session
from backdoor_gate.scan.network import precision as shipped
from benchmarks.measure import ZOO, job

NETWORKS = ("dev-101-fashion-mnist-cnn-badnets", "dev-120-cifar10-resnet8-badnets")
DETECTORS = ("neural_cleanse", "spectral_inversion", "warp_inversion")

Vectors = dict[str, tuple[float | None, ...]]


def precision(seeds: tuple[int, int]) -> dict[str, Any]:
    """Scan each network in both precisions with two seeds; return the changes of the class values, as log ratios."""
    by_precision: list[float] = []
    by_seed: list[float] = []
    rows = {}
    for name in NETWORKS:
        if not (ZOO / name).exists():
            continue
        found = {(single, seed): vectors(name, seed, single=single) for single in (True, False) for seed in seeds}
        for seed in seeds:
            by_precision += changes(found[True, seed], found[False, seed])
        by_seed += changes(found[True, seeds[0]], found[True, seeds[1]])
        rows[name] = {
            f"{'float32' if single else 'bfloat16'}, seed {seed}": ranking(values)
            for (single, seed), values in found.items()
        }
    if not rows:
        return {"skipped": f"none of {', '.join(NETWORKS)} is trained; see python -m benchmarks.zoo.train"}
    return {"by_precision": quantiles(by_precision), "by_seed": quantiles(by_seed), "most_extreme": rows}


def vectors(name: str, seed: int, *, single: bool) -> Vectors:
    """Return the class values of one scan."""
    meta = json.loads((ZOO / name / "meta.json").read_text(encoding="utf-8"))
    wanted = job(ZOO / name, meta, with_data=True, seed=seed)
    wanted = replace(wanted, detectors=tuple(plan for plan in wanted.detectors if plan.name in DETECTORS))
    with mock.patch.object(shipped, "pays", (lambda *_: False) if single else shipped.pays):
        scan = session.measure(wanted, lambda _: None)
    return {evidence.detector: evidence.values for evidence in scan.evidence if isinstance(evidence, Measured)}


def changes(one: Vectors, other: Vectors) -> list[float]:
    """Return |log ratio| of each class's values, where both are there and positive."""
    pairs = [pair for name in one.keys() & other.keys() for pair in zip(one[name], other[name], strict=True)]
    return [abs(math.log(a / b)) for a, b in pairs if a is not None and b is not None and min(a, b) > 0]


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the middle, the ninth decile and the largest."""
    return {
        "median": round(statistics.median(values), 3),
        "ninth_decile": round(statistics.quantiles(values, n=10)[-1], 3),
        "largest": round(max(values), 3),
    }


def ranking(values: Vectors) -> dict[str, Any]:
    """Return each detector's most extreme class and its ratio to the runner-up."""
    found = {}
    for name, vector in values.items():
        ordered = sorted(((v, k) for k, v in enumerate(vector) if v is not None))
        if len(ordered) > 1:
            found[name] = {"class": ordered[0][1], "to_runner_up": round(ordered[0][0] / ordered[1][0], 3)}
    return found
