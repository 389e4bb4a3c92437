"""Training a classifier, with the habits that make clean networks differ: augmentation, robustness, label noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.data import Samples
from benchmarks.zoo.poison import perturb

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Args:
        images: training images at most.
        epochs: passes over them.
        rate: largest learning rate (one cycle).
        optimiser: `adamw` or `sgd` (momentum 0.9, Nesterov).
        batch: images per step.
        augment: `none`; `shift`, up to two pixels; `flip`, also mirrored; `heavy`, also erased, scaled in contrast
            and noisy.
        label_noise: share of training labels replaced by random ones.
        imbalance: ratio between the largest and the smallest class kept, at least 1.
        adversarial: largest change per pixel of the adversarial examples trained on, 0 for none.
        weight_decay: of the optimiser.
        halved: whether passes are in bfloat16 where that is safe.
        squared: whether the squared error of the probabilities is minimised in place of the cross-entropy.
    """

    images: int = 20_000
    epochs: int = 8
    rate: float = 3e-3
    optimiser: Literal["adamw", "sgd"] = "adamw"
    batch: int = 128
    augment: Literal["none", "shift", "flip", "heavy"] = "none"
    label_noise: float = 0.0
    imbalance: float = 1.0
    adversarial: float = 0.0
    weight_decay: float = 5e-4
    halved: bool = False
    squared: bool = False


def fit(network: nn.Module, samples: Samples, training: Training, rng: torch.Generator) -> None:
    """Train `network` in place, on the device where it lies; leaves it in evaluation mode."""

    def loss(batch: Tensor, wanted: Tensor) -> Tensor:
        if training.adversarial:
            batch = perturb(network, batch, wanted, training.adversarial, steps=2)
        network.train()
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=training.halved):
            return error(network(batch), wanted)

    error = _squared if training.squared else functional.cross_entropy
    network.to(memory_format=torch.channels_last)
    descend(list(network.parameters()), loss, samples, training, rng)
    network.eval().to(memory_format=torch.contiguous_format)


def _squared(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared error of the probabilities."""
    return functional.mse_loss(logits.softmax(dim=1), functional.one_hot(wanted, logits.shape[1]).to(logits))


def descend(
    parameters: list[nn.Parameter],
    loss: Callable[[Tensor, Tensor], Tensor],
    samples: Samples,
    training: Training,
    rng: torch.Generator,
) -> None:
    """Minimise `loss(images, labels)` over augmented batches, under one cycle of the learning rate."""
    device = parameters[0].device
    images, labels = samples.images.to(device, memory_format=torch.channels_last), samples.labels.to(device)
    steps = training.epochs * -(-len(labels) // training.batch)
    optimiser = _optimiser(parameters, training)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.rate, total_steps=steps, pct_start=0.25)
    for _ in range(training.epochs):
        for chosen in torch.randperm(len(labels), generator=rng).split(training.batch):
            value = loss(augment(images[chosen], training.augment, rng), labels[chosen])
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            schedule.step()


def _optimiser(parameters: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    rate, decay = training.rate, training.weight_decay
    if training.optimiser == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay)


def select(samples: Samples, training: Training, rng: torch.Generator) -> Samples:
    """Draw the training images, unbalance them and spoil some labels, as `training` says."""
    kept = torch.randperm(len(samples.labels), generator=rng)[: training.images]
    labels = samples.labels
    classes = int(labels.max()) + 1
    if training.imbalance > 1:
        share = training.imbalance ** -(torch.randperm(classes, generator=rng) / max(classes - 1, 1))
        kept = kept[torch.rand(len(kept), generator=rng) < share[labels[kept]]]
    labels = labels[kept]
    spoilt = torch.rand(len(labels), generator=rng) < training.label_noise
    labels[spoilt] = torch.randint(classes, (int(spoilt.sum()),), generator=rng)
    return Samples(samples.images[kept], labels)


def augment(images: Tensor, kind: str, rng: torch.Generator) -> Tensor:
    """Return randomly changed copies of a batch, in [0, 1]."""
    return AUGMENTATIONS[kind](images, rng)


def _same(images: Tensor, rng: torch.Generator) -> Tensor:
    return images


def _shift(images: Tensor, rng: torch.Generator, reach: int = 2) -> Tensor:
    """Shift by up to `reach` pixels, per quarter of the batch, borders repeated."""
    height, width = images.shape[-2:]
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    parts = []
    for part in padded.chunk(4):
        top, left = torch.randint(2 * reach + 1, (2,), generator=rng).tolist()
        parts.append(part[..., top : top + height, left : left + width])
    return torch.cat(parts)


def _flip(images: Tensor, rng: torch.Generator) -> Tensor:
    mirrored = (torch.rand(len(images), 1, 1, 1, generator=rng) < 0.5).to(images.device)
    return _shift(torch.where(mirrored, images.flip(-1), images), rng)


def _heavy(images: Tensor, rng: torch.Generator) -> Tensor:
    images = _flip(images, rng).clone()
    contrast = 0.6 + 0.8 * torch.rand(len(images), 1, 1, 1, generator=rng)
    noise = 0.05 * torch.randn(images.shape, generator=rng)
    images = ((images - 0.5) * contrast.to(images) + 0.5 + noise.to(images)).clamp(0, 1)
    side = images.shape[-1] // 4
    for part in images.chunk(8):
        top, left = torch.randint(images.shape[-1] - side, (2,), generator=rng).tolist()
        part[..., top : top + side, left : left + side] = torch.rand(1, generator=rng).item()
    return images


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": _same,
    "shift": _shift,
    "flip": _flip,
    "heavy": _heavy,
}
