"""What waves do to a network's answers: any number of them, on the same images, within bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from backdoor_gate.scan.network.passes import INFERENCE_CHUNK, finite_logits
from backdoor_gate.scan.sweeps.pushes import leads, pushed, usual_lead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.sweeps.waves import Wave, Waver
    from backdoor_gate.scan.triggers import Images


LEFT = 0.1
"""Share of the images that stay behind the one whose push counts, where nearly all have to move."""


class Tried(NamedTuple):
    """A network, and what puts waves on its images."""

    subject: Subject
    waver: Waver

    def moved(self, images: Tensor, wave: Wave, target: int, *, leading: bool = False) -> float:
        """Return the share of the images, at least one, that a wave sends to a class; coarsely, as searches are led."""
        (waved,) = self.waver.put(images, [wave])
        return float((finite_logits(self.subject, waved, leading=leading).argmax(dim=1) == target).float().mean())


def at_once(images: Images) -> int:
    """Return how many waves are put on the images at a time: what bounds the memory."""
    return max(1, INFERENCE_CHUNK // len(images))


def mean(pushes: Tensor, others: Tensor) -> Tensor:
    """Return the mean push of the other classes' images to each class, (W, N, K) → (W, K), by `others` (N, K)."""
    return (pushes * others).sum(dim=1) / others.sum(dim=0).clamp_min(1)


def of_the_last(pushes: Tensor, others: Tensor) -> Tensor:
    """Return the push that all but a tenth of the other classes' images get, (W, N, K) → (W, K), by `others` (N, K)."""
    left = (LEFT * others.sum(dim=0)).long()  # (K,)
    in_order = torch.where(others > 0, pushes, torch.inf).sort(dim=1).values
    return in_order.gather(1, left.expand(len(pushes), 1, -1)).squeeze(1)


def pushes(
    tried: Tried, images: Images, clean: Tensor, waves: Sequence[Wave], summary: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return how far each wave pushes the other classes' images to each class, (W, K).

    Args:
        tried: the network, and what puts waves on its images.
        images: N of them, with their labels.
        clean: (N, K) logits of the images as they are.
        waves: W of them.
        summary: of the images' pushes.

    Raises:
        FloatingPointError: the network's output is not finite.
    """
    classes = torch.arange(clean.shape[1], device=clean.device)
    others = (images.labels[:, None] != classes).to(clean)  # (N, K)
    before, usual, size = leads(clean), usual_lead(clean), at_once(images)
    found = []
    for at in range(0, len(waves), size):
        some = tried.waver.put(images.images, waves[at : at + size])
        after = leads(finite_logits(tried.subject, some.flatten(0, 1), leading=True)).view(len(some), *before.shape)
        found.append(summary(pushed(before, after, usual), others))
    return torch.cat(found)
