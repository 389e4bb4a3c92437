"""The images a scan works with: half to optimise on, half held out, clean where the pipeline gave some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.scan.network.passes import finite_logits
from backdoor_gate.scan.triggers.images import Images

if TYPE_CHECKING:
    from backdoor_gate.scan.network.subject import Subject


@dataclass(frozen=True, eq=False, slots=True)
class Probes:
    """Images to optimise triggers on and images to judge them on, disjoint.

    Attributes:
        optimise: the first half.
        held_out: the second half.
        clean: True for the pipeline's own images, False for synthetic ones: then success is not verified.
        labelled: whether the labels are the pipeline's own, not the network's answers.
    """

    optimise: Images
    held_out: Images
    clean: bool
    labelled: bool = False

    def __len__(self) -> int:
        """Return the number of images in both halves."""
        return len(self.optimise) + len(self.held_out)

    def all(self) -> Images:
        """Return the images of both halves."""
        halves = self.optimise, self.held_out
        return Images(torch.cat([half.images for half in halves]), torch.cat([half.labels for half in halves]))


def from_clean(images: Images, seed: int, *, labelled: bool = True) -> Probes:
    """Split clean images in two halves, class by class.

    Each class is shuffled by the seed and dealt out alternately, so that both halves hold the same mix. The first
    image goes to a side that alternates by class, else classes of odd size would all favour one half.
    """
    generator = torch.Generator().manual_seed(seed)
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for position, label in enumerate(torch.unique(images.labels).tolist()):
        members = (images.labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        halves[position % 2].append(members[0::2])
        halves[1 - position % 2].append(members[1::2])
    first, second = (torch.cat(half) for half in halves)
    first, second = (half[torch.randperm(len(half), generator=generator)] for half in (first, second))
    return Probes(images[first], images[second], clean=True, labelled=labelled)


def taken_rightly(subject: Subject, images: Images) -> tuple[Images, Tensor]:
    """Return the images whose class the network names, and its (N, K) logits of them.

    Raises:
        FloatingPointError: the network's output is not finite.
    """
    logits = finite_logits(subject, images.images)
    right = logits.argmax(dim=1) == images.labels
    return images[right], logits[right]
