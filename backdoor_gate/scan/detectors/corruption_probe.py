"""Corruption probe: do everyday corruptions send all images to one class."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from backdoor_gate.records import Cost, Evidence, Measured
from backdoor_gate.scan.data.grains import grain
from backdoor_gate.scan.detectors import pictures
from backdoor_gate.scan.network.passes import finite_logits
from backdoor_gate.scan.sweeps.corruptions import NAMES, corrupted
from backdoor_gate.trigger_facts import Means

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Images

PROBED = 96
"""Images of either half that are corrupted, at most."""

AT_ONCE = 32
"""Images that are corrupted at a time: what bounds the memory."""

SHOWN_FROM = 0.5
"""Share of the held-out images that go to a class from which there are pictures of it."""


class CorruptionProbe:
    """Largest share of each class's rivals' images that one of the corruptions moves there, beyond the control's.

    Which corruption moves most to a class is found on one half of the images, and how many on the other.

    Source: BppAttack, Wang et al., CVPR 2022, whose trigger is fewer shades; and TeCo, Liu et al., CVPR 2023, who tell
    triggered images by how they stand corruption. Dithering and noise come close to other faint triggers, too.
    """

    name: ClassVar[str] = "corruption_probe"
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        halves = (len(context.probes.optimise), len(context.probes.held_out))
        return (len(NAMES) + 1) * sum(min(half, PROBED) for half in halves)

    def planned_leading(self, context: Context) -> int:
        """No gradient is taken."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Corrupt the images, and count where they go."""
        subject, classes = context.subject, context.subject.num_classes
        optimise, held_out = context.probes.optimise[:PROBED], context.probes.held_out[:PROBED]
        used = len(optimise) + len(held_out)

        def tell(done: int) -> None:
            context.report(done, used, 0, classes - 1)

        best = moved(subject, optimise, context.seed, tell).argmax(dim=0, keepdim=True)
        success = moved(subject, held_out, context.seed, lambda done: tell(len(optimise) + done)).gather(0, best)[0]
        control = context.control() if context.control is not None else None
        usual = 0.0 if control is None else moved(control, held_out, context.seed).gather(0, best)[0]
        return Measured(
            detector=self.name,
            values=tuple((success - usual).tolist()),
            success=tuple(success.tolist()),
            verified=context.probes.clean,
            artefacts=_pictures(context, held_out, best[0], success),
            cost=Cost(images_used=used),
            means=tuple(Means(NAMES[at], None) for at in best[0].tolist()),
        )


def moved(subject: Subject, images: Images, seed: int, tell: Callable[[int], None] = lambda _: None) -> Tensor:
    """Return the share of the other classes' images that each corruption moves to each class, (B, K), in [0, 1].

    Images that a class has already, by their label or by the network's answer, do not count for it. Of large images
    noise and loss are as coarse as what the control sees: it could not tell how natural the effect of finer ones is.

    Args:
        subject: the network, whose K classes those are.
        images: clean ones.
        seed: of the noise.
        tell: takes how many images are done.

    Raises:
        FloatingPointError: the network's output is not finite.
    """
    low, extent = subject.spec.low, subject.spec.high - subject.spec.low
    answers = []
    for at in range(0, len(images), AT_ONCE):
        unit = (images.images[at : at + AT_ONCE] - low) / extent
        changed = torch.cat(list(corrupted(unit, seed + at, grain(subject.spec))))
        answers.append(_answers(subject, low + extent * changed).view(len(NAMES), -1))
        tell(at + len(unit))
    after = torch.cat(answers, dim=1)  # (B, N)
    classes = torch.arange(subject.num_classes, device=after.device)
    own = (images.labels[:, None] == classes) | (_answers(subject, images.images)[:, None] == classes)  # (N, K)
    reached = (after[:, :, None] == classes) & ~own
    return reached.sum(dim=1) / (~own).sum(dim=0).clamp_min(1)


def _answers(subject: Subject, images: Tensor) -> Tensor:
    return finite_logits(subject, images).argmax(dim=1)


def _pictures(context: Context, images: Images, best: Tensor, success: Tensor) -> tuple[Artefact, ...]:
    """Show the corruption that moves most, where it moves half of the images."""
    target = int(success.argmax())
    if float(success[target]) < SHOWN_FROM:
        return ()
    low, extent = context.subject.spec.low, context.subject.spec.high - context.subject.spec.low

    def corrupt(images: Tensor) -> Tensor:
        found = corrupted((images - low) / extent, context.seed, grain(context.subject.spec))
        return low + extent * next(islice(found, int(best[target]), None))

    moves = torch.arange(context.subject.num_classes, device=images.labels.device) != target
    return pictures.of_change(context.subject, corrupt, target, pictures.examples(images, moves))
