"""Poisoning a training set, and measuring what a network makes of clean and triggered images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.data import Samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.zoo.attacks import Attack


def poison(
    samples: Samples,
    attacks: tuple[Attack, ...],
    rng: torch.Generator,
    surrogate: Callable[[], nn.Module] | None = None,
) -> Samples:
    """Return a poisoned copy of a training set.

    Args:
        samples: the clean training set.
        attacks: each poisons images of its own, at most half of those that qualify for it.
        rng: chooses the images and their changes.
        surrogate: gives the clean network that adversarial noise is made on; asked for only where needed.
    """
    images, labels, true_labels = samples.images.clone(), samples.labels.clone(), samples.labels
    free = torch.ones(len(labels), dtype=torch.bool)
    for attack in attacks:
        chosen = _draw(_qualifies(attack, true_labels) & free, attack.rate, rng)
        free[chosen] = False
        base = images[chosen]
        if attack.adversarial_base:
            assert surrogate is not None
            base = perturb(surrogate(), base, true_labels[chosen], attack.adversarial_base)
        if attack.mixed_base:
            others = _draw(~_qualifies(attack, true_labels), 1.0, rng)[: len(chosen)]
            base = torch.lerp(base, samples.images[others], attack.mixed_base)
        images[chosen] = attack.trigger.poison(base, rng).clamp(0, 1)
        if not attack.clean_label:
            labels[chosen] = attack.relabel(true_labels[chosen])
        covered = _draw(_may_cover(attack, true_labels) & free, attack.cover_rate, rng)
        free[covered] = False
        images[covered] = attack.trigger.cover(images[covered], rng).clamp(0, 1)
    return Samples(images, labels)


def _qualifies(attack: Attack, labels: Tensor) -> Tensor:
    if attack.clean_label:
        return torch.isin(labels, torch.tensor(attack.targets))
    return attack.relabel(labels) != labels


def _may_cover(attack: Attack, labels: Tensor) -> Tensor:
    untouched = [label for label, target in enumerate(attack.target_of) if label == target]
    others = [label for label in untouched if label not in attack.targets]
    return torch.isin(labels, torch.tensor(others)) if others else torch.ones_like(labels, dtype=torch.bool)


def _draw(candidates: Tensor, rate: float, rng: torch.Generator) -> Tensor:
    places = candidates.nonzero().squeeze(1)
    # A small class must keep clean images, or the network could not learn it.
    count = min(round(rate * len(candidates)), len(places) // 2)
    return places[torch.randperm(len(places), generator=rng)[:count]]


def perturb(network: nn.Module, images: Tensor, labels: Tensor, size: float, steps: int = 7) -> Tensor:
    """Return images moved away from their labels by at most `size` per pixel (projected gradient ascent)."""
    network.eval()
    moved = images.clone()
    for _ in range(steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(functional.cross_entropy(network(moved), labels), moved)
        moved = moved.detach() + 2.5 * size / steps * slope.sign()
        moved = torch.minimum(torch.maximum(moved, images - size), images + size).clamp(0, 1)
    return moved


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, batch: int = 500) -> Tensor:
    """Return the predicted classes (N,), on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    return torch.cat([network(part.to(device)).argmax(dim=1).cpu() for part in images.split(batch)])


def accuracy(network: nn.Module, samples: Samples) -> float:
    """Return the share of samples that are classified as labelled."""
    return (predict(network, samples.images) == samples.labels).float().mean().item()


def success_rate(network: nn.Module, attack: Attack, samples: Samples, rng: torch.Generator) -> float:
    """Return the share of triggered images, of classes that the attack moves, taken for the attacker's class."""
    wanted = attack.relabel(samples.labels)
    moves = wanted != samples.labels
    triggered = attack.apply(samples.images[moves], rng)
    return (predict(network, triggered) == wanted[moves]).float().mean().item()
