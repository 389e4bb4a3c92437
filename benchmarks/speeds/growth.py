"""How the cost of a class grows with the number of classes, the size of the images and the size of the network."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.records import InputSpec
from backdoor_gate.scan import session
from backdoor_gate.scan.data.probes import Probes
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.neural_cleanse import NeuralCleanse
from backdoor_gate.scan.machine import free_for_activations
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import Images, pairs
from benchmarks.measure import ZOO, job
from benchmarks.speeds.clock import in_turn, least, timed
from benchmarks.speeds.efficiency import IMAGES, MEMORY
from benchmarks.speeds.networks import cnn, loaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

CLASSES = (10, 43, 100, 1000)
SIZES = (28, 32, 64, 112, 224)
WIDTHS = (8, 16, 32, 64)
STEPS = 3
"""Of each inversion: growth hangs on the cost of a step, not on their number."""

ROUNDS, SMALL = 5, 64
"""Small points are short: the best of several rounds is free of the noise of one. Every point warms up once."""

SCANNED = ("dev-186-mnist-cnn-clean", "dev-214-number-pairs-cnn-clean", "dev-224-number-triples-cnn-clean")
"""The same small network, trained on 10, 100 and 1,000 classes of digits."""

TRAINED = ("dev-186-mnist-cnn-clean", "dev-100-fashion-mnist-cnn-clean", "dev-103-cifar10-cnn-clean")
"""Clean networks of ten classes, as a pipeline has them: few of their triggers are weak enough for a second look."""

HALF = 24
"""Images to optimise on, and as many held out."""


def growth(seed: int, device: torch.device) -> dict[str, Any]:
    """Return the three curves; each point is one patch inversion of all classes with the same budget a class."""
    wide = [point(partial(cnn, count, 3, 16), 32, count, seed, device) for count in CLASSES]
    large = [point(partial(cnn, 10, 3, 16), size, 10, seed, device) for size in SIZES]
    heavy = [point(partial(cnn, 10, 3, width), 32, 10, seed, device) for width in WIDTHS]
    base = wide[0]["cpu_milliseconds_per_class"]
    for row in wide:
        row["relative_to_10_classes"] = round(row["cpu_milliseconds_per_class"] / base, 3)
    for row in large:
        row["cpu_microseconds_per_class_and_pixel"] = round(
            1000 * row["cpu_milliseconds_per_class"] / row["size"] ** 2, 2
        )
    for row, width in zip(heavy, WIDTHS, strict=True):
        row["width"] = width
    return {
        "steps": STEPS,
        "images": IMAGES,
        "classes": wide,
        "image_size": large,
        "network_width": heavy,
        "whole_scans": _relative(whole_scans(SCANNED, seed)),
        "pair_arms_per_class": {count: round(len(pairs(torch.arange(count), count)) / count, 2) for count in CLASSES},
    }


def trained(seed: int) -> dict[str, Any]:
    """Return what whole scans of trained networks take."""
    return {"threads": torch.get_num_threads(), "whole_scans": whole_scans(TRAINED, seed)}


def whole_scans(names: tuple[str, ...], seed: int) -> list[dict[str, Any]]:
    """Return what a scan by the default policy takes, with screening where that comes in; none without the zoo."""
    rows = []
    for name in names:
        folder = ZOO / name
        if not (folder / "meta.json").exists():
            continue
        order = job(folder, json.loads((folder / "meta.json").read_text("utf-8")), with_data=True, seed=seed)
        wall, cpu = time.monotonic(), time.process_time()
        scan = session.measure(order, lambda _: None)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        row = {
            "network": name,
            "classes": scan.num_classes,
            "cpu_seconds": round(cpu, 1),
            "wall_seconds": round(wall, 1),
        }
        rows.append(row | {"cpu_milliseconds_per_class": round(1000 * cpu / scan.num_classes)})
    return rows


def _relative(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        relative = row["cpu_milliseconds_per_class"] / rows[0]["cpu_milliseconds_per_class"]
        row["relative_to_10_classes"] = round(relative, 3)
    return rows


def point(build: Callable[[], nn.Module], size: int, classes: int, seed: int, device: torch.device) -> dict[str, Any]:
    """Invert every class of one network with the shipped detector; return its cost a class."""
    shape = (3, size, size)
    subject = Subject(loaded(build, seed), InputSpec(shape), classes, device)
    half = Images(torch.rand((HALF, *shape), generator=torch.Generator().manual_seed(seed)), torch.arange(HALF) % 10)
    half = half.to(device)
    context = Context(
        subject=subject,
        probes=Probes(half, half, clean=True),
        settings={"steps": STEPS, "images": IMAGES, "classes": classes},
        seed=seed,
        activation_bytes=free_for_activations(MEMORY, device),
    )
    detector = NeuralCleanse()
    before = subject.passes
    rounds = max(1, ROUNDS * CLASSES[0] // classes if size <= SMALL else 1)
    spent = least(in_turn({"": timed(lambda: detector.measure(context))}, rounds)[""])
    return {
        "classes": classes,
        "size": size,
        "passes": (subject.passes - before) // (rounds + 1),
        "cpu_seconds": round(spent.cpu, 3),
        "wall_seconds": round(spent.wall, 3),
        "cpu_milliseconds_per_class": round(1000 * spent.cpu / classes, 2),
    }
