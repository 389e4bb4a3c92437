"""Images made out of the network itself, where the pipeline has none to give.

Plain grounds, or scenery that resembles no class, are moved towards every class just as far as the network needs to be
sure of it. They are nothing that a person would take for the class; but the network takes them for it as it takes a
real image, with about that much to spare, and a trigger has as much to move. Where images go on until nothing more can
be gained, as in model inversion, no trigger of usual strength moves them any more.

Real images of digits or of clothes lie on black, photographs fill the frame. Which it was, the network tells: from the
right ground its classes are nearer than from others.

Source of the idea: data-free inversion from model-made images, DeepInspect (Chen et al., IJCAI 2019).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.budgets import MOST_SEARCHED
from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.data.classes import at_most
from backdoor_gate.scan.data.probes import Probes
from backdoor_gate.scan.network.passes import INFERENCE_CHUNK, predict
from backdoor_gate.scan.triggers.images import Images

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.network.subject import Subject

PER_CLASS = 20
"""Images per class and half; together no more than LIMIT. Of very many classes MOST_SEARCHED, drawn at random, have
any: four in either half, which is enough for a search from them."""

LIMIT = 400

SURE = 0.9
"""Probability of its class at which an image has come far enough."""

STEPS, STEP = 60, 0.01
"""Steps at most, and the length of one: root mean square change as a share of the input range."""

USUAL_STEPS = 12
"""Steps that an image takes to arrive, on average."""

TRIED_PER_CLASS = 2
"""Images per class to choose the ground with."""

MOST = 0.6
"""Share of these images that are to arrive, for the ground to be the right one."""

NEARER_GREY, NEARER_COLOUR = 1.2, 0.7
"""Share of the scenery's way to the classes below which a plain ground is preferred: photographs are in colour."""

GRAIN = 0.03
"""Standard deviation of the noise on a plain ground, as a share of the input range."""

COMMON = 0.8
"""Share of the scenery that all channels have in common."""


class Ground(Enum):
    """What an image is before it is moved."""

    LOWEST = "lowest"
    HIGHEST = "highest"
    SCENERY = "scenery"


def synthetic(subject: Subject, seed: int, per_class: int = PER_CLASS, ground: Ground | None = None) -> Probes:
    """Make images of every class out of the network itself; the label is what the network says in the end.

    Args:
        subject: the frozen network.
        seed: of all random draws. The held-out half starts from another one.
        per_class: images of each class and half, of many classes fewer.
        ground: what they are made from; None: the network tells.

    Raises:
        UnmeasuredError: the network's gradient led to images that are not finite.
    """
    ground = choose_ground(subject, seed) if ground is None else ground
    targets = _classes(subject, seed).repeat(_of_each(subject, per_class))  # every step mixes the classes
    halves = [_moved(subject, ground, targets, 2 * seed + half)[0] for half in (0, 1)]
    if not all(images.isfinite().all() for images in halves):
        what = "the images that were made out of the network did not stay finite"
        raise UnmeasuredError(what, hint="check the weights, and the model for a division or a root of zero")
    optimise, held_out = (Images(images, predict(subject, images)) for images in halves)
    return Probes(optimise, held_out, clean=False)


def planned_passes(subject: Subject, per_class: int) -> int:
    """Estimate the images that making these puts through the network, from a ground that is known."""
    of_each = 2 * _of_each(subject, per_class)
    return USUAL_STEPS * min(subject.num_classes, MOST_SEARCHED) * of_each


def _classes(subject: Subject, seed: int) -> Tensor:
    """Return the classes that images are made of, ascending."""
    return at_most(MOST_SEARCHED, torch.arange(subject.num_classes), seed)


def _of_each(subject: Subject, per_class: int) -> int:
    return min(per_class, LIMIT // min(subject.num_classes, MOST_SEARCHED))


def choose_ground(subject: Subject, seed: int) -> Ground:
    """Return the ground from which the classes are nearest; of a plain one and the scenery, what is the likelier."""
    ways = {ground: usual_way(subject, ground, seed) for ground in Ground}
    ways[Ground.SCENERY] *= NEARER_GREY if subject.spec.shape[0] == 1 else NEARER_COLOUR
    return min(reversed(Ground), key=ways.__getitem__)


def usual_way(subject: Subject, ground: Ground, seed: int) -> float:
    """Return how far an image of a ground has to be moved, root mean square, that has farther to go than most.

    Of two classes one is that of the ground itself, and no way at all. Infinity: it does not arrive.
    """
    _, way = _moved(subject, ground, _classes(subject, seed).repeat(TRIED_PER_CLASS), seed)
    return float(way.quantile(MOST, interpolation="higher"))


def _moved(subject: Subject, ground: Ground, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return an image for each target (N,): (N, C, H, W), and how far it was moved, (N,); infinity: not far enough."""
    generator = Generator().manual_seed(seed)
    targets = targets.to(subject.device)
    start = grounds(ground, subject.spec, len(targets), generator).to(subject.device)
    chunks = zip(torch.split(start, INFERENCE_CHUNK), torch.split(targets, INFERENCE_CHUNK), strict=True)
    moved = [_towards(subject, images, target) for images, target in chunks]
    images, arrived = (torch.cat(part) for part in zip(*moved, strict=True))
    way = (images - start).flatten(1).square().mean(dim=1).sqrt()
    return images, way.where(arrived, torch.inf)


@torch.enable_grad()
def _towards(subject: Subject, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Move images (N, C, H, W) until the network is sure of their targets (N,); return them, and which have arrived."""
    low, high = subject.spec.low, subject.spec.high
    images, left = images.clone(), torch.arange(len(images), device=images.device)
    for _ in range(STEPS):
        given = images[left].requires_grad_()
        entropy = F.cross_entropy(subject.leading(given), target[left], reduction="none")
        underway = entropy.detach() > -torch.log(torch.tensor(SURE))
        if not underway.any():
            return images, torch.ones_like(target, dtype=torch.bool)
        (gradient,) = torch.autograd.grad(entropy.sum(), given)
        left, gradient = left[underway], gradient[underway]
        length = gradient.flatten(1).square().mean(dim=1).sqrt().clamp_min(1e-12).view(-1, 1, 1, 1)
        images[left] = (images[left] - STEP * (high - low) * gradient / length).clamp(low, high)
    arrived = torch.ones_like(target, dtype=torch.bool)
    arrived[left] = False
    return images, arrived


def grounds(ground: Ground, spec: InputSpec, count: int, generator: Generator) -> Tensor:
    """Return `count` images (N, C, H, W) of one ground, in the input range, on CPU."""
    shape = (count, *spec.shape)
    if ground is Ground.SCENERY:
        unit = _scenery(shape, generator)
    else:
        unit = float(ground is Ground.HIGHEST) + GRAIN * torch.randn(shape, generator=generator)
    return spec.low + (spec.high - spec.low) * unit.clamp(0, 1)


def _scenery(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Return noise whose amplitudes fall with the frequency, as those of photographs do, of mixed light and contrast.

    Source: natural images' power falls with the square of the frequency (Field, JOSA A 1987).
    """
    count, channels, height, width = shape

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((count, 1, 1, 1), generator=generator)

    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    frequency[0, 0] = torch.inf  # no mean of its own
    noise = torch.randn(shape, generator=generator)
    common = noise.mean(dim=1, keepdim=True) * channels**0.5
    mixed = COMMON * common + (1 - COMMON**2) ** 0.5 * noise if channels > 1 else noise
    image: Tensor = torch.fft.irfft2(torch.fft.rfft2(mixed) / frequency ** drawn(1, 2), s=(height, width))
    image = image / image.flatten(1).std(dim=1, correction=0).clamp_min(1e-12).view(-1, 1, 1, 1)
    return drawn(0.2, 0.8) + drawn(0.15, 0.5) * image
