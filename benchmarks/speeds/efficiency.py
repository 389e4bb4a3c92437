"""How near the trigger loop is to the bare network's forward and input gradient, at the network's best settings."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch.fx.experimental.optimization import fuse

from backdoor_gate.scan.machine import free_for_activations
from backdoor_gate.scan.network.precision import has_instructions
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import Images, InversionBudget, all_to_one, invert
from backdoor_gate.scan.triggers.families import FAMILIES, TriggerFamily
from backdoor_gate.scan.triggers.memory import activation_bytes_per_image
from benchmarks.speeds.clock import Spent, Stopwatch, in_turn, least, ratio, timed
from benchmarks.speeds.networks import KINDS, Kind, loaded, spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

CLASSES = 10
IMAGES = 8
"""Images of a step and arm: the shipped default."""

MEMORY = 8 << 30
"""The policy's default limit, which the size of the groups follows."""

IMAGES_TO_TIME = {"cnn": 1200, "wrn16": 480, "resnet18": 108}
"""Images of one timing, so that each takes a good fraction of a second."""

BY_NAME = {family.__name__.lower(): family for family in FAMILIES}

FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def efficiency(name: str, rounds: int, seed: int, device: torch.device) -> dict[str, Any]:
    """Time the bare network in all its settings and the trigger loop of every family, in turn."""
    kind = KINDS[name]
    subject = Subject(loaded(kind.build, seed), spec(kind), CLASSES, device)
    images = clean(kind, seed, device)
    families = {title: family(spec(kind)) for title, family in BY_NAME.items()}
    groups = {title: group_size(subject, family, images) for title, family in families.items()}
    bare = settings(kind, seed, device, batches={IMAGES * arms for arms in groups.values()} | {IMAGES * CLASSES})
    wanted = IMAGES_TO_TIME[name]
    runs = {f"bare: {setting}": repeated(run, batch, wanted) for setting, (batch, run) in bare.items()}
    for title, family in families.items():
        steps = max(4, wanted // (IMAGES * groups[title]))
        runs[title] = engine(subject, family, groups[title], images, steps)
    samples = in_turn(runs, rounds)
    rates = {run: least(found).rates(1) for run, found in samples.items()}
    reference = fastest(rates, "float32")
    limit = fastest(rates, "")
    return {
        "network": kind.title,
        "threads": torch.get_num_threads(),
        "arms_at_once": groups,
        "images_per_second": rates,
        "best_bare": {"float32": reference, "any precision": limit},
        "efficiency": {title: ratio(samples[title], samples[reference]) for title in families},
        "of_any_precision": {title: ratio(samples[title], samples[limit]) for title in families},
    }


def fastest(rates: dict[str, dict[str, float]], precision: str) -> str:
    """Return the fastest setting of the bare network, of one precision or of all."""
    return max(
        (run for run in rates if run.startswith("bare") and precision in run),
        key=lambda run: rates[run]["per_cpu_second"],
    )


def clean(kind: Kind, seed: int, device: torch.device, count: int = 250) -> Images:
    """Return random images with labels in turn."""
    pixels = torch.rand((count, *kind.shape), generator=torch.Generator().manual_seed(seed))
    return Images(pixels, torch.arange(count) % CLASSES).to(device)


def group_size(subject: Subject, family: TriggerFamily, images: Images) -> int:
    """Return how many arms a scan puts through the network at once."""
    per_image = activation_bytes_per_image(subject.leading, family, images[:2])
    return min(CLASSES, max(1, free_for_activations(MEMORY, subject.device) // (per_image * IMAGES)))


def settings(
    kind: Kind, seed: int, device: torch.device, batches: set[int]
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return forward and input gradient of the bare network by setting, with the batch of each."""
    network = fuse(loaded(kind.build, seed).network.to(device)).requires_grad_(False)
    halves = [torch.float32, torch.bfloat16] if has_instructions(device) else [torch.float32]
    found = {}
    for layout, memory_format in FORMATS.items():
        laid_out = copy.deepcopy(network).to(memory_format=memory_format)
        for dtype in halves:
            for batch in sorted(batches):
                images = torch.rand((batch, *kind.shape), device=device).contiguous(memory_format=memory_format)
                run = bare_pass(laid_out, images.requires_grad_(), dtype)
                found[f"{layout}, {str(dtype).removeprefix('torch.')}, {batch}"] = (batch, run)
    return found


def bare_pass(network: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """Return one forward pass and input gradient."""

    def run() -> object:
        with torch.autocast(images.device.type, dtype, enabled=dtype is not torch.float32):
            output = network(images)
        return torch.autograd.grad(output.float().sum(), images)

    return run


def repeated(run: Callable[[], object], batch: int, wanted: int) -> Callable[[], Spent]:
    """Return the timing of one image, from as many passes as it takes to see `wanted` of them."""
    times = max(1, math.ceil(wanted / batch))

    def all_of_them() -> None:
        for _ in range(times):
            run()

    clocked = timed(all_of_them)

    def per_image() -> Spent:
        spent = clocked()
        return Spent(spent.cpu / (times * batch), spent.wall / (times * batch))

    return per_image


def engine(subject: Subject, family: TriggerFamily, arms: int, images: Images, steps: int) -> Callable[[], Spent]:
    """Return the timing of one image in the trigger loop: the steps after the first, and nothing after the last."""

    def per_image() -> Spent:
        watches: list[Stopwatch] = []
        spent: list[Spent] = []

        def on_step(done: int) -> None:
            if done == 1:
                watches.append(Stopwatch())
            elif done == steps:
                spent.append(watches[0].read())

        budget, generator = InversionBudget(steps, IMAGES), torch.Generator().manual_seed(0)
        chosen = all_to_one(CLASSES)[:arms].to(subject.device)
        invert(subject.leading, family, chosen, images[: 2 * IMAGES], budget, generator, on_step)
        seen = (steps - 1) * arms * IMAGES
        return Spent(spent[0].cpu / seen, spent[0].wall / seen)

    return per_image
