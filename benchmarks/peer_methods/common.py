"""What every compared method starts from, and how its cost is told."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.zoo import data
from benchmarks.zoo.train import read

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.zoo.attacks import Attack
    from benchmarks.zoo.data import Samples

IMAGES = 2500
"""Clean images of the published default: a twentieth of CIFAR-10's training set."""


class Counted(nn.Module):
    """A network that counts the images put through it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.passes = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's logits."""
        self.passes += len(images)
        output: Tensor = self.inner(images)
        return output


@dataclass(frozen=True)
class Problem:
    """A network of known state and clean images that it was not trained on."""

    network: Counted
    attacks: tuple[Attack, ...]
    meta: dict[str, Any]
    samples: Samples


def problem(folder: Path, count: int) -> Problem:
    """Read a network of the zoo and the first test images of its data set."""
    network, attacks, meta = read(folder)
    dataset = data.load(meta["dataset"])
    if meta["classes"]:
        dataset = dataset.subset(tuple(meta["classes"]))
    samples = dataset.test.pick(torch.arange(count))
    return Problem(Counted(network.requires_grad_(False)), attacks, meta, samples)


@dataclass
class Meter:
    """Clocks a method from here on."""

    cpu: float = field(default_factory=time.process_time)
    wall: float = field(default_factory=time.perf_counter)

    def read(self) -> dict[str, float]:
        """Return seconds so far, and the process's peak memory."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        spent = {"cpu_seconds": time.process_time() - self.cpu, "wall_seconds": time.perf_counter() - self.wall}
        return {name: round(value, 2) for name, value in spent.items()} | {"peak_mib": round(peak / 2**20)}


def tell(result: dict[str, Any]) -> None:
    """Print a method's result as the last line of its process."""
    print(json.dumps(result), flush=True)
