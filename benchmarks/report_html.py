"""Measure how long the HTML report takes and how large it gets, for pictures that compress as badly as noise.

    python -m benchmarks.report_html [--out FILE]

Every detector of the pack has 43 classes and blocks; those with a trigger bring all its pictures for several classes,
on four images each, and those that look from class to class nine pairs of every source. An embedding is as large as
any. More than any scan brings. The first render includes loading the drawing library; the limits are the project's own.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from backdoor_gate.candidate_facts import Candidate
from backdoor_gate.catalogue import DETECTORS, DetectorSpec
from backdoor_gate.illustrations import Artefact, Embedding, Prediction
from backdoor_gate.records import (
    AuditReport,
    Cost,
    Coverage,
    DataFacts,
    Decision,
    DetectorResult,
    InputSpec,
    PolicyRef,
    Runtime,
    Scan,
    Status,
    Suspicion,
    Verdict,
)
from backdoor_gate.reports import Format, render
from backdoor_gate.trigger_facts import Pair
from benchmarks.circumstances import RESULTS, circumstances

OUT = RESULTS / "report_html.json"
CLASSES = 43
SUSPECTS = (7, 11, 23)
TARGETS = 9
"""Of each source, as a detector that looks from class to class has them."""
PATCHES = ("neural_cleanse", "pair_patch")
"""Detectors whose triggers have a mask and a pattern."""
EXAMPLES = 4
EMBEDDED = (200, 100, 16)
"""Clean images, triggered ones, components."""
SHAPES = ((3, 32, 32), (3, 224, 224))
RENDERS = 5
MOST_SECONDS = 2.0
MOST_BYTES = 3 << 20


def result(spec: DetectorSpec, shape: tuple[int, int, int], random: np.random.Generator) -> DetectorResult:
    """Return a detector that blocks, with pictures of noise."""
    paired = spec.name.startswith("pair_")
    found = pairs(random) if paired else ()
    parts = {"trigger": shape} | ({"mask": (1, *shape[1:]), "pattern": shape} if spec.name in PATCHES else {})
    shown = [
        Artefact(name, k, random.random(size, np.float32), k - 1 if paired else None)
        for k in SUSPECTS
        for name, size in parts.items()
    ]
    shown += [
        Artefact(name, k, random.random(shape, np.float32), k - 1 if paired else None, example, Prediction(k, 0.97))
        for k in SUSPECTS
        for name in ("clean", "triggered")
        for example in range(EXAMPLES)
    ]
    return DetectorResult(
        spec.name,
        True,
        Status.MEASURED,
        "its trigger sends 97% of held-out images there",
        blocking=True,
        anomaly_index=9.1,
        threshold=4.4,
        p_value=1e-6,
        suspect_classes=SUSPECTS,
        unit=spec.unit,
        per_class=tuple(np.exp(random.normal(-2, 0.5, CLASSES)).tolist()),
        success=(0.97,) * CLASSES,
        cost=Cost(10.0, 100_000, 500),
        artefacts=tuple(shown) if spec.needs_data else (),
        pairs=found,
        suspect_pairs=tuple((k - 1, k) for k in SUSPECTS) if paired else (),
    )


def pairs(random: np.random.Generator) -> tuple[Pair, ...]:
    """Return as many pairs as an inversion by pair has for so many classes."""
    return tuple(
        Pair(source, (source + 1 + step) % CLASSES, float(np.exp(random.normal(-2, 0.5))), 0.97, 10.0)
        for source in range(CLASSES)
        for step in range(TARGETS)
    )


def embedding(random: np.random.Generator) -> Embedding:
    """Return an embedding of noise, as large as they get."""
    clean, triggered, components = EMBEDDED
    labels = tuple(position % CLASSES for position in range(clean))
    return Embedding(
        components=random.uniform(-1, 1, (clean + triggered, components)).astype(np.float32),
        shares=(1 / components,) * components,
        labels=labels + labels[:triggered],
        triggered=(False,) * clean + (True,) * triggered,
        penultimate=True,
        detector="neural_cleanse",
        target=SUSPECTS[0],
        source=None,
    )


def audit(shape: tuple[int, int, int]) -> AuditReport:
    """Return an audit of a network with `CLASSES` classes in which every detector blocks."""
    random = np.random.default_rng(0)
    results = tuple(result(spec, shape, random) for spec in DETECTORS)
    now = datetime.now(UTC)
    return AuditReport(
        scan_id="0" * 16,
        scanned_at=now,
        expires_at=now,
        requested="models:/signs/1",
        candidate=Candidate("models:/signs/1", "models:/signs/1", "signs", "1", Path(), (), "sha256:" + "0" * 64),
        policy=PolicyRef("policy.yaml", "sha256:" + "0" * 64),
        detector_pack="benchmark",
        false_block_rate=0.01,
        decision=Decision(Verdict.BLOCK, Suspicion.NONE, SUSPECTS, ("found",), results),
        coverage=Coverage(tuple(f"{spec.name}: {spec.claim}" for spec in DETECTORS), ()),
        seconds=60.0,
        scan=Scan(
            CLASSES,
            InputSpec(shape),
            "pt2",
            DataFacts("clean", 500, 0.9),
            (),
            Runtime("2", "cpu", "A", 0),
            embedding=embedding(random),
        ),
    )


def measure(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Render some times; return seconds and bytes."""
    report, seconds, processor = audit(shape), [], []
    for _ in range(RENDERS):
        started, used = time.perf_counter(), time.process_time()
        document = render(report, Format.HTML)
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return {
        "image": list(shape),
        "classes": CLASSES,
        "first_seconds": round(seconds[0], 3),
        "first_processor_seconds": round(processor[0], 3),
        "median_seconds": round(statistics.median(seconds), 3),
        "median_processor_seconds": round(statistics.median(processor), 3),
        "bytes": len(document.encode("utf-8")),
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(out: Path) -> None:
    """Measure, write the figures, and fail where a limit is broken."""
    rows = [measure(shape) for shape in SHAPES]
    head = {
        "circumstances": circumstances("benchmarks.report_html", seed=0, packages=("backdoor-gate", "matplotlib")),
        "limits": {"seconds": MOST_SECONDS, "bytes": MOST_BYTES},
    }
    out.write_text(json.dumps(head | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(row)
    sys.exit(any(row["first_seconds"] > MOST_SECONDS or row["bytes"] > MOST_BYTES for row in rows))


if __name__ == "__main__":
    main()
