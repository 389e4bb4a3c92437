"""Arms: which images a trigger must move, and where to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Arms:
    """A batch of (source set, target class) pairs, optimised together.

    Attributes:
        target: (A,) int64, the class each arm aims at.
        source: (A, K) bool, the classes whose images the arm must move.
    """

    target: Tensor
    source: Tensor

    def __len__(self) -> int:
        """Return the number of arms, A."""
        return self.target.shape[0]

    def __getitem__(self, chosen: slice) -> Arms:
        """Return the arms of a slice."""
        return Arms(self.target[chosen], self.source[chosen])

    def weights(self, labels: Tensor) -> Tensor:
        """Return the weight of each image in each arm: (A, N) float, 1 where the image's class is in the source set."""
        return self.source[:, labels].float()

    def to(self, device: torch.device) -> Arms:
        """Return the same arms on another device."""
        return Arms(self.target.to(device), self.source.to(device))


def all_to_one(num_classes: int) -> Arms:
    """One arm per class, moving the images of all other classes to it."""
    return Arms(torch.arange(num_classes), ~torch.eye(num_classes, dtype=torch.bool))
