"""A whole scan with the default detectors: its passes counted, its time from measured rates, or from doing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.catalogue import BY_NAME, DetectorPlan
from backdoor_gate.catalogue import DETECTORS as SPECS
from backdoor_gate.records import Cost, Declared, Job, Limits, Measured
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors import DETECTORS
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.machine import free_for_activations
from backdoor_gate.scan.network.passes import INFERENCE_CHUNK, predict
from backdoor_gate.scan.network.precision import has_instructions
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.session import run_detectors
from backdoor_gate.scan.triggers import Images
from benchmarks.speeds.clock import Stopwatch, in_turn, least, timed
from benchmarks.speeds.efficiency import CLASSES, MEMORY, clean
from benchmarks.speeds.networks import KINDS, loaded, spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from backdoor_gate.scan.detectors import Detector

IMAGES = 500
"""Clean images: the policy's default."""

RATE_IMAGES = {"cnn": 1200, "wrn16": 600, "resnet18": 144}
"""Images to measure a rate on."""


def whole(name: str, seed: int, device: torch.device, most_seconds: float) -> dict[str, Any]:
    """Count the passes of a default scan and tell its time; do the scan where that takes at most `most_seconds`."""
    subject, split = prepared(name, seed, device)
    contexts = {detector.name: context(subject, split, detector.name, seed) for detector in DETECTORS}
    planned = {detector.name: passes(detector, contexts[detector.name]) for detector in DETECTORS}
    gradients, forwards = (sum(row[part] for row in planned.values()) for part in ("leading", "evidence"))
    rates = measured_rates(subject, split.optimise, RATE_IMAGES[name])
    told = {unit: gradients / rates["leading"][unit] + forwards / rates["evidence"][unit] for unit in rates["leading"]}
    result = {
        "network": KINDS[name].title,
        "threads": torch.get_num_threads(),
        "passes": planned,
        "passes_in_all": {"leading": gradients, "evidence": forwards},
        "images_per_second": rates,
        "told": {"cpu_seconds": round(told["per_cpu_second"], 1), "wall_seconds": round(told["per_second"], 1)},
    }
    if told["per_second"] <= most_seconds:
        result["done"] = done(subject, split, seed)
    return result


def prepared(name: str, seed: int, device: torch.device) -> tuple[Subject, probes.Probes]:
    """Return an untrained network and its clean images, as a scan has them."""
    kind, model = KINDS[name], loaded(KINDS[name].build, seed)
    images = clean(kind, seed, torch.device("cpu"), IMAGES)
    spread(model.network, images.images)
    subject = Subject(model, spec(kind), CLASSES, device)
    subject.halved = has_instructions(device)  # untrained logits are too alike to bear it; trained ones do
    images = images.to(device)
    return subject, probes.from_clean(Images(images.images, predict(subject, images.images)), seed)


@torch.no_grad()
def spread(network: nn.Module, images: Tensor) -> None:
    """Make an untrained network name all classes equally often, as a trained one does: pairs need images of each."""
    head = network[-1]  # type: ignore[index]
    logits = torch.cat([network(chunk) for chunk in torch.split(images, INFERENCE_CHUNK)])
    scale, middle = logits.std(dim=0), logits.mean(dim=0)
    head.bias.copy_((head.bias - middle) / scale)
    head.weight.div_(scale[:, None])


def context(subject: Subject, split: probes.Probes, name: str, seed: int) -> Context:
    """Return what a scan gives a detector."""
    return Context(subject, split, BY_NAME[name].defaults(), seed, free_for_activations(MEMORY, subject.device))


def passes(detector: Detector, given: Context) -> dict[str, int]:
    """Return how many images a detector plans to put through the network, with and without a gradient."""
    leading = detector.planned_leading(given)
    return {"leading": leading, "evidence": detector.planned_passes(given) - leading}


def measured_rates(subject: Subject, images: Images, wanted: int) -> dict[str, dict[str, float]]:
    """Return images per second of passes with a gradient to the images, and of passes without."""
    chunk = images.images[:INFERENCE_CHUNK] if wanted > INFERENCE_CHUNK else images.images[:36]
    times = max(1, wanted // len(chunk))

    def with_gradient() -> None:
        for _ in range(times):
            given = chunk.clone().requires_grad_()
            torch.autograd.grad(subject.leading(given).sum(), given)

    def without() -> None:
        with torch.no_grad():
            for _ in range(times):
                subject.logits(chunk)

    runs: dict[str, Callable[[], None]] = {"leading": with_gradient, "evidence": without}
    samples = in_turn({name: timed(run) for name, run in runs.items()}, rounds=2)
    return {name: least(found).rates(times * len(chunk)) for name, found in samples.items()}


def done(subject: Subject, split: probes.Probes, seed: int) -> dict[str, Any]:
    """Run every detector once, as a scan does: side by side, and beside the control's training."""
    watch = Stopwatch()
    told: list[tuple[float, float | None]] = []
    evidence = run_detectors(
        order(seed), subject, split, lambda progress: told.append((watch.read().wall, progress.seconds_left))
    )
    spent = watch.read()
    rows = {
        each.detector: {
            "status": "measured" if isinstance(each, Measured) else each.reason,
            "passes": cost.model_passes,
            "wall_seconds": round(cost.seconds, 2),
        }
        for each in evidence
        for cost in [getattr(each, "cost", Cost())]
    }
    return {
        "cpu_seconds": round(spent.cpu, 1),
        "wall_seconds": round(spent.wall, 1),
        "time_left": errors_of_time_left(told, spent.wall),
        "detectors": rows,
    }


def errors_of_time_left(told: list[tuple[float, float | None]], whole: float) -> dict[str, float]:
    """Return by how much of the scan's time the time left was wrong, after each tenth of it."""
    known = [(at, left) for at, left in told if left is not None]
    errors = {}
    for tenth in range(1, 10):
        at, left = min(known, key=lambda each: abs(each[0] - whole * tenth / 10))
        errors[f"{tenth}0%"] = round((at + left) / whole - 1, 2)
    return errors


def order(seed: int) -> Job:
    """Return the order of a scan with all detectors at their default settings; nothing is loaded."""
    return Job(
        candidate=Path(),
        formats=(),
        declared=Declared(),
        signature=None,
        architecture=None,
        data=None,
        max_images=IMAGES,
        detectors=tuple(DetectorPlan(each.name, each.required, each.defaults()) for each in SPECS),
        device="auto",
        seed=seed,
        limits=Limits(3600, MEMORY),
    )
