"""Labelled images, and which of them each arm gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.arms import Arms


@dataclass(frozen=True, eq=False, slots=True)
class Images:
    """Labelled images.

    Attributes:
        images: (N, C, H, W) float32 in the input range; (A, N, C, H, W) where each of A arms has its own.
        labels: (N,) int64; (A, N) where each arm has its own images.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of images, N."""
        return self.labels.shape[-1]

    def __getitem__(self, chosen: slice | Tensor) -> Images:
        """Return the images of a slice or of an index tensor."""
        return Images(self.images[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> Images:
        """Return the same images on another device."""
        return Images(self.images.to(device), self.labels.to(device))


def batches(count: int, size: int, steps: int, generator: torch.Generator) -> Tensor:
    """Return image indices for every step, (steps, min(size, count)) int64: reshuffled each time all have been used."""
    size = min(size, count)
    per_epoch = count // size
    epochs = -(-steps // per_epoch)
    order = [torch.randperm(count, generator=generator)[: per_epoch * size] for _ in range(epochs)]
    return torch.cat(order).view(-1, size)[:steps]


def draw(arms: Arms, labels: Tensor, size: int, steps: int, generator: torch.Generator) -> Tensor:
    """Return the images of every step: (steps, 1 or A, n) int64.

    Arms with several source classes share their images, n = min(size, N). Arms with one source class each get `size`
    images of it, the same for all arms of that class; a class with fewer is drawn again before the step is full.

    Args:
        arms: A pairs of sources and target.
        labels: (N,) of the images to draw from; every source class of arms with one source is among them.
        size: images of one step.
        steps: how many.
        generator: on CPU.
    """
    own = arms.own_source()
    if own is None:
        return batches(len(labels), size, steps, generator)[:, None]
    seed = int(torch.randint(1 << 62, (), generator=generator))  # every class shuffles alike, whatever its number
    by_class = {
        source: _cycled((labels == source).nonzero()[:, 0].cpu(), steps * size, seed).view(steps, size)
        for source in set(own.tolist())
    }
    return torch.stack([by_class[source] for source in own.tolist()], dim=1)


def _cycled(values: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` of the values, (count,): reshuffled each time all have been used."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(len(values), generator=generator) for _ in range(-(-count // len(values)))]
    return values[torch.cat(rounds)[:count]]


def members(arms: Arms, labels: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the images that each arm must move, at most so many.

    Returns:
        Indices (1 or A, M) int64, M ≤ most, and weights (A, M), 0 where the image is none of the arm's.
    """
    own = arms.own_source()
    if own is None:
        indices = torch.arange(min(len(labels), most), device=labels.device)[None]
        return indices, arms.weights(labels[indices])
    belongs = arms.source.gather(1, labels.expand(len(arms), -1))  # (A, N)
    count = min(int(belongs.sum(dim=1).max()), most)
    indices = belongs.float().argsort(dim=1, descending=True, stable=True)[:, :count]
    return indices, belongs.gather(1, indices).float()
