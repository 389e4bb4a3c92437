"""Pictures of the recovered triggers, for the reports: evidence that can be seen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.illustrations import Artefact, Prediction
from backdoor_gate.scan.detectors.interface import Weakest
from backdoor_gate.scan.triggers.families import Patch
from backdoor_gate.scan.triggers.families.interface import portrait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from backdoor_gate.scan.detectors.groups import Inverted
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Images
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

EXAMPLES = 4
"""Images that each trigger is shown on, at most."""


def planned_passes(shown: int) -> int:
    """Return the images that pictures of so many triggers put through the network, at most."""
    return 2 * EXAMPLES * shown


def pictures(  # noqa: PLR0913 (the triggers, and what to show them on)
    context: Context,
    family: TriggerFamily,
    inverted: Inverted,
    shown: Sequence[int],
    images: Images,
    *,
    from_source: bool,
) -> tuple[Artefact, ...]:
    """Show the triggers of the arms `shown`: alone, and on a few images, with what the network takes those for.

    The first of them is kept as the detector's weakest.

    Args:
        context: of the detector.
        family: the kind of trigger.
        inverted: all arms.
        shown: positions of those to show, all with a working trigger, the weakest first.
        images: held-out ones to put the triggers on.
        from_source: whether the arms start from one class each, which the pictures then name.
    """
    found: list[Artefact] = []
    for arm in shown:
        one = tuple(p[arm : arm + 1].to(images.images.device) for p in inverted.parameters)
        source = int(inverted.arms.source[arm].int().argmax()) if from_source else None
        target, moves = int(inverted.arms.target[arm]), inverted.arms.source[arm]
        if arm == shown[0]:
            share = float(inverted.strength[arm] / inverted.strength[inverted.works].median())
            context.keep(Weakest(family, one, moves, target, source, share, float(inverted.success[arm])))
        named = {"trigger": portrait(family, one, context.subject.spec)[0]}
        if isinstance(family, Patch):
            mask, pattern = family.mask_and_pattern(one)
            named |= {"mask": mask[0], "pattern": pattern[0]}
        found += [Artefact(name, target, _array(tensor), source) for name, tensor in named.items()]
        put = partial(_put, family, one)
        found += _twins(context.subject, put, examples(images, moves), target, source)
    return tuple(found)


def of_change(
    subject: Subject, change: Callable[[Tensor], Tensor], target: int, images: Tensor, source: int | None = None
) -> tuple[Artefact, ...]:
    """Show what something that is no trigger of a family does to a few images: on grey, and on each.

    Args:
        subject: the network.
        change: takes and returns (N, C, H, W) images.
        target: the class that it moves images to.
        images: (E, C, H, W) to show it on, at least one.
        source: the class whose images it moves, where it is one alone.
    """
    grey = (subject.spec.low + subject.spec.high) / 2
    difference = grey + (change(images) - images)[0]
    alone = Artefact("trigger", target, _array(difference.clamp(subject.spec.low, subject.spec.high)), source)
    return (alone, *_twins(subject, change, images, target, source))


def _put(family: TriggerFamily, one: Parameters, images: Tensor) -> Tensor:
    return family.apply(one, images)[0]


def examples(images: Images, moves: Tensor) -> Tensor:
    """Return a few images of the classes that the trigger moves, (E, C, H, W): of as many classes as there are."""
    movable = moves.cpu().tolist()
    seen: dict[int, int] = {}
    turns = []
    for at, label in enumerate(images.labels.tolist()):
        if movable[label]:
            seen[label] = seen.get(label, -1) + 1
            turns.append((seen[label], at))
    return images.images[[at for _, at in sorted(turns)[:EXAMPLES]]]


def _twins(
    subject: Subject, put: Callable[[Tensor], Tensor], images: Tensor, target: int, source: int | None
) -> list[Artefact]:
    """Return each image without and with the trigger."""
    if not len(images):
        return []
    triggered = put(images)
    told = _predictions(subject, torch.cat([images, triggered]))
    return [
        Artefact(name, target, _array(tensors[at]), source, at, told[first + at])
        for at in range(len(images))
        for name, tensors, first in (("clean", images, 0), ("triggered", triggered, len(images)))
    ]


@torch.no_grad()
def _predictions(subject: Subject, images: Tensor) -> list[Prediction | None]:
    """Return what the network takes images for; nothing where it fails or the time is over: these only illustrate."""
    try:
        best = subject.logits(images).softmax(dim=1).max(dim=1)
    except Exception:  # whatever a stranger's network raises
        return [None] * len(images)
    told = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Prediction(k, min(share, 1.0)) if share >= 0 else None for k, share in told]


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return array
