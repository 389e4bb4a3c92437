"""What waves do to a network's answers: what the sweeps of stripes and of waves have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from backdoor_gate.scan.detectors import pictures
from backdoor_gate.scan.leads import leads
from backdoor_gate.scan.network.passes import INFERENCE_CHUNK, finite_logits
from backdoor_gate.scan.sweeps.pushes import pushed, share_sent, usual_lead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.sweeps.waves import Wave, Waver
    from backdoor_gate.scan.triggers import Images

    Summary = Callable[[Tensor, Tensor], Tensor]

TARGETS = 4
"""Classes that are looked at more closely: those that some wave pushes the images farthest to."""

LEFT = 0.1
"""Share of the images that stay behind the one whose push counts, where nearly all have to move."""


class Tried(NamedTuple):
    """A network, and what puts waves on its images."""

    subject: Subject
    waver: Waver

    def moved(self, images: Tensor, wave: Wave, target: int, *, leading: bool = False) -> float:
        """Return the share of the images, at least one, that a wave sends to a class; `leading` as searches are led."""
        (waved,) = self.waver.put(images, [wave])
        return share_sent(finite_logits(self.subject, waved, leading=leading), target)


def mean(pushes: Tensor, others: Tensor) -> Tensor:
    """Return the mean push of the other classes' images to each class, (W, N, K) → (W, K), by `others` (N, K)."""
    return (pushes * others).sum(dim=1) / others.sum(dim=0).clamp_min(1)


def of_the_last(pushes: Tensor, others: Tensor) -> Tensor:
    """Return the push that all but a tenth of the other classes' images get, (W, N, K) → (W, K), by `others` (N, K)."""
    left = (LEFT * others.sum(dim=0)).long()  # (K,)
    in_order = torch.where(others > 0, pushes, torch.inf).sort(dim=1).values
    return in_order.gather(1, left.expand(len(pushes), 1, -1)).squeeze(1)


def pushes(tried: Tried, images: Images, clean: Tensor, waves: Sequence[Wave], summary: Summary) -> Tensor:
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
    before, usual, size = leads(clean), usual_lead(clean), _at_once(images)
    found = []
    for at in range(0, len(waves), size):
        some = tried.waver.put(images.images, waves[at : at + size])
        after = leads(finite_logits(tried.subject, some.flatten(0, 1), leading=True)).view(len(some), *before.shape)
        found.append(summary(pushed(before, after, usual), others))
    return torch.cat(found)


def swept(context: Context, tried: Tried, shown: Images, waves: Sequence[Wave], summary: Summary) -> dict[int, Wave]:
    """Return the wave that pushes the images farthest to each of the classes that come closest, wave by wave."""
    clean, size = finite_logits(tried.subject, shown.images), _at_once(shown)
    found = []
    for at in range(0, len(waves), size):
        found.append(pushes(tried, shown, clean, waves[at : at + size], summary))
        tell(context, min(at + size, len(waves)), len(waves))
    best = torch.cat(found).max(dim=0)
    closest = best.values.topk(min(TARGETS, tried.subject.num_classes)).indices.tolist()
    return {target: waves[int(best.indices[target])] for target in closest}


def tell(context: Context, done: int, waves: int) -> None:
    """Report progress: so many waves and then classes, of that many waves."""
    classes = context.subject.num_classes
    context.report(done, waves + min(TARGETS, classes), 0, classes - 1)


def pictured(tried: Tried, held_out: Images, target: int, wave: Wave) -> tuple[Artefact, ...]:
    """Return pictures of what a wave does to images of other classes."""
    moves = torch.arange(tried.subject.num_classes, device=held_out.labels.device) != target
    examples = pictures.examples(held_out, moves)
    return pictures.of_change(tried.subject, lambda images: tried.waver.put(images, [wave])[0], target, examples)


def _at_once(images: Images) -> int:
    """Return how many waves are put on the images at a time: what bounds the memory."""
    return max(1, INFERENCE_CHUNK // len(images))
