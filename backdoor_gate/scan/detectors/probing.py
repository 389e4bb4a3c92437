"""Everyday changes of clean images, and where the images go: what two probes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.records import Cost, Evidence, Measured
from backdoor_gate.scan.detectors import pictures
from backdoor_gate.scan.network.passes import finite_logits
from backdoor_gate.trigger_facts import Means

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Images

PROBED = 96
"""Images of either half that are changed, at most."""

AT_ONCE = 32
"""Images that are changed at a time: what bounds the memory."""

SHOWN_FROM = 0.5
"""Share of the held-out images that go to a class from which there are pictures of it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to the images.

    Attributes:
        names: of the B changes.
        apply: takes (N, C, H, W) float32 images in [0, 1] and a seed, and yields as many for each name, in that order.
    """

    names: tuple[str, ...]
    apply: Callable[[Tensor, int], Iterator[Tensor]]


def planned_passes(context: Context, changes: Changes) -> int:
    """Estimate the images put through the network."""
    halves = (len(context.probes.optimise), len(context.probes.held_out))
    return (len(changes.names) + 1) * sum(min(half, PROBED) for half in halves)


def probe(context: Context, detector: str, changes: Changes, *, beyond_control: bool) -> Evidence:
    """Change the images, and count where they go.

    Which change moves most to a class is found on one half of the images, and how many it moves on the other.

    Args:
        context: the network and its images.
        detector: whose evidence it is.
        changes: the B changes.
        beyond_control: whether that which moves most beyond the control's is taken, in place of that which moves most.
    """
    subject, classes = context.subject, context.subject.num_classes
    optimise, held_out = context.probes.optimise[:PROBED], context.probes.held_out[:PROBED]
    used = len(optimise) + len(held_out)

    def tell(done: int) -> None:
        context.report(done, used, 0, classes - 1)

    first = moved(subject, optimise, changes, context.seed, tell)
    second = moved(subject, held_out, changes, context.seed, lambda done: tell(len(optimise) + done))
    control = context.control() if context.control is not None else None

    def usual(half: Images) -> Tensor | float:
        return 0.0 if control is None else moved(control, half, changes, context.seed)

    best = (first - usual(optimise) if beyond_control else first).argmax(dim=0, keepdim=True)
    success, beyond = (found.gather(0, best)[0] for found in (second, second - usual(held_out)))
    return Measured(
        detector=detector,
        values=tuple(beyond.tolist()),
        success=tuple(success.tolist()),
        verified=context.probes.clean,
        artefacts=_pictures(context, changes, held_out, best[0], success),
        cost=Cost(images_used=used),
        means=tuple(Means(changes.names[at], None) for at in best[0].tolist()),
    )


def moved(
    subject: Subject, images: Images, changes: Changes, seed: int, tell: Callable[[int], None] = lambda _: None
) -> Tensor:
    """Return the share of the other classes' images that each change moves to each class, (B, K), in [0, 1].

    Images that a class has already, by their label or by the network's answer, do not count for it.

    Args:
        subject: the network, whose K classes those are.
        images: clean ones.
        changes: the B changes.
        seed: of what is random in them.
        tell: takes how many images are done.

    Raises:
        FloatingPointError: the network's output is not finite.
    """
    low, extent = subject.spec.low, subject.spec.high - subject.spec.low
    answers = []
    for at in range(0, len(images), AT_ONCE):
        unit = (images.images[at : at + AT_ONCE] - low) / extent
        answers.append(torch.stack([_answers(subject, low + extent * each) for each in changes.apply(unit, seed + at)]))
        tell(at + len(unit))
    after = torch.cat(answers, dim=1)  # (B, N)
    classes = torch.arange(subject.num_classes, device=after.device)
    own = (images.labels[:, None] == classes) | (_answers(subject, images.images)[:, None] == classes)  # (N, K)
    reached = (after[:, :, None] == classes) & ~own
    return reached.sum(dim=1) / (~own).sum(dim=0).clamp_min(1)


def _answers(subject: Subject, images: Tensor) -> Tensor:
    return finite_logits(subject, images).argmax(dim=1)


def _pictures(
    context: Context, changes: Changes, images: Images, best: Tensor, success: Tensor
) -> tuple[Artefact, ...]:
    """Show the change that moves most, where it moves half of the images."""
    target = int(success.argmax())
    if float(success[target]) < SHOWN_FROM:
        return ()
    low, extent = context.subject.spec.low, context.subject.spec.high - context.subject.spec.low

    def change(images: Tensor) -> Tensor:
        found = changes.apply((images - low) / extent, context.seed)
        return low + extent * next(islice(found, int(best[target]), None))

    moves = torch.arange(context.subject.num_classes, device=images.labels.device) != target
    return pictures.of_change(context.subject, change, target, pictures.examples(images, moves))
