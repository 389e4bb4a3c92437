"""Arms: which images a trigger must move, and where to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

MOST_BLOCKS = 9
"""Arms per source class at most: all pairs of ten classes; beyond, each arm stands for several targets, so that the
cost per class does not grow with the number of classes."""


@dataclass(frozen=True, eq=False, slots=True)
class Arms:
    """A batch of (source set, target) pairs, optimised together.

    Attributes:
        target: (A,) int64, the class each arm aims at; with `among`, where it has ended up.
        source: (A, K) bool, the classes whose images the arm must move.
        among: (A, K) bool, the classes that will do as target while optimising; None: only `target` will.
    """

    target: Tensor
    source: Tensor
    among: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of arms, A."""
        return self.target.shape[0]

    def __getitem__(self, chosen: slice | Tensor) -> Arms:
        """Return the arms of a slice or of an index tensor."""
        return Arms(self.target[chosen], self.source[chosen], None if self.among is None else self.among[chosen])

    def weights(self, labels: Tensor) -> Tensor:
        """Return the weight of each image in each arm: (A, N) float, 1 where the image's class is in the source set.

        Args:
            labels: (N,) of images that all arms share, or (1 or A, N).
        """
        return self.source.gather(1, labels.expand(len(self), -1)).float()

    def own_source(self) -> Tensor | None:
        """Return the one source class of each arm, (A,) int64; None where an arm has several."""
        return self.source.int().argmax(dim=1) if bool((self.source.sum(dim=1) == 1).all()) else None

    def reached(self, predicted: Tensor) -> Tensor:
        """Tell which predictions (A, N) are where the arm wants them, (A, N) bool."""
        return predicted == self.target[:, None] if self.among is None else self.among.gather(1, predicted)

    def resolved(self, target: Tensor) -> Arms:
        """Return the arms with one target each, (A,) int64."""
        return replace(self, target=target, among=None)

    def to(self, device: torch.device) -> Arms:
        """Return the same arms on another device."""
        among = None if self.among is None else self.among.to(device)
        return Arms(self.target.to(device), self.source.to(device), among)


def all_to_one(num_classes: int) -> Arms:
    """One arm per class, moving the images of all other classes to it."""
    return Arms(torch.arange(num_classes), ~torch.eye(num_classes, dtype=torch.bool))


def pairs(sources: Tensor, num_classes: int) -> Arms:
    """Arms from each of the source classes (S,) int64 to every other class, in at most `MOST_BLOCKS` blocks a source.

    With more classes than blocks an arm may end up at any class of its block: the target that the optimisation picks is
    the one that needs the weakest trigger. Of a block only that one is measured.
    """
    blocks = min(num_classes - 1, MOST_BLOCKS)
    offsets = torch.arange(num_classes - 1)
    away = torch.zeros(blocks, num_classes, dtype=torch.bool)  # (B, K), by distance from the source
    away[offsets % blocks, offsets + 1] = True
    among = torch.cat([away.roll(int(source), dims=1) for source in sources])
    source = torch.nn.functional.one_hot(sources.repeat_interleave(blocks), num_classes).bool()
    single = num_classes - 1 == blocks
    return Arms(among.int().argmax(dim=1), source, None if single else among)
