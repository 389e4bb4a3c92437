"""The images a scan works with: half to optimise on, half held out, clean where the pipeline gave some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.triggers.images import Images

if TYPE_CHECKING:
    from backdoor_gate.scan.subject import Subject

SYNTHETIC_PER_CLASS = 20
"""Synthetic images per class and half; together no more than SYNTHETIC_LIMIT."""

SYNTHETIC_LIMIT = 400

SYNTHETIC_STEPS = 20
"""Sign-gradient steps from noise towards a class."""

INFERENCE_CHUNK = 128
"""Images of one forward pass outside the optimisation."""


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


def synthetic(subject: Subject, seed: int) -> Probes:
    """Make images of every class out of the network itself, where the pipeline has none to give.

    Smooth noise is moved towards each class by sign-gradient steps; the label is what the network then says. The
    held-out half starts from another seed.
    """
    count = min(SYNTHETIC_PER_CLASS, max(2, SYNTHETIC_LIMIT // subject.num_classes))
    optimise, held_out = (_towards_classes(subject, count, 2 * seed + half) for half in (0, 1))
    return Probes(optimise, held_out, clean=False)


def _towards_classes(subject: Subject, per_class: int, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = subject.spec.shape
    targets = torch.arange(subject.num_classes).repeat(per_class)  # every step's images mix the classes
    coarse = torch.rand((len(targets), channels, max(2, height // 4), max(2, width // 4)), generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    low, high = subject.spec.low, subject.spec.high
    images = (low + (high - low) * smooth).to(subject.device)
    targets = targets.to(subject.device)
    step = (high - low) / SYNTHETIC_STEPS
    moved = [
        _climb(subject, chunk, goal, step)
        for chunk, goal in zip(torch.split(images, INFERENCE_CHUNK), torch.split(targets, INFERENCE_CHUNK), strict=True)
    ]
    result = torch.cat(moved)
    return Images(result, predict(subject, result))


def _climb(subject: Subject, images: Tensor, target: Tensor, step: float) -> Tensor:
    for _ in range(SYNTHETIC_STEPS):
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(subject.logits(images), target, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
        images = (images - step * gradient.sign()).clamp(subject.spec.low, subject.spec.high)
    return images.detach()


@torch.no_grad()
def predict(subject: Subject, images: Tensor) -> Tensor:
    """Return the class of each image, (N,) int64."""
    return torch.cat([subject.logits(chunk).argmax(dim=1) for chunk in torch.split(images, INFERENCE_CHUNK)])
