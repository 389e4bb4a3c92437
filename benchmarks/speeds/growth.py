"""How the cost of a class grows with the number of classes, the size of the images and the size of the network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.neural_cleanse import NeuralCleanse
from backdoor_gate.scan.probes import Probes
from backdoor_gate.scan.session import free_for_activations
from backdoor_gate.scan.subject import Subject
from backdoor_gate.scan.triggers import Images, pairs
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
        "pair_arms_per_class": {count: round(len(pairs(torch.arange(count), count)) / count, 2) for count in CLASSES},
    }


def point(build: Callable[[], nn.Module], size: int, classes: int, seed: int, device: torch.device) -> dict[str, Any]:
    """Invert every class of one network with the shipped detector; return its cost a class."""
    shape = (3, size, size)
    subject = Subject(loaded(build, seed), InputSpec(shape), classes, device)
    half = Images(torch.rand((HALF, *shape), generator=torch.Generator().manual_seed(seed)), torch.arange(HALF) % 10)
    half = half.to(device)
    context = Context(
        subject=subject,
        probes=Probes(half, half, clean=True),
        settings={"steps": STEPS, "images": IMAGES},
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
