"""Labelled images, and the batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Images:
    """Labelled images.

    Attributes:
        images: (N, C, H, W) float32 in the input range.
        labels: (N,) int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of images, N."""
        return self.labels.shape[0]

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
