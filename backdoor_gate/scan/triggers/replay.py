"""How often a trigger works, and the weakest form of it that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.arms import Arms
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily
    from backdoor_gate.scan.triggers.images import Images

Logits = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) → logits (B, K)."""

REQUIRED_SUCCESS = 0.95
"""Success rate on the optimisation images at which strengths are compared. Above the 0.9 that a verdict asks for on
held-out images, since a trigger always does a little worse on images that it has not seen."""

LEAST_SUCCESS = 0.9
"""Below this on the optimisation images a trigger does not work at all."""

FACTORS = (0.64, 0.8, 1.0, 1.25, 1.56, 1.95, 2.44)
"""Multiples of the optimised strength that are tried, a quarter apart."""

SETTLING_IMAGES = 125
"""Optimisation images on which the final strength is measured: ±2 points of success at the bar."""

REPLAY_CHUNK = 32
"""Images per arm in one forward pass."""


@torch.no_grad()
def success_rates(logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, images: Images) -> Tensor:
    """Replay every arm's trigger.

    Args:
        logits: the frozen network.
        family: the kind of trigger.
        parameters: of A triggers.
        arms: their sources and targets.
        images: the images to put them on.

    Returns:
        (A,) share of the arm's source images that go to its target, in [0, 1]; NaN for an arm without source images.
    """
    hits = torch.zeros(len(arms), device=images.labels.device)
    for start in range(0, len(images), REPLAY_CHUNK):
        batch = images[start : start + REPLAY_CHUNK]
        triggered = family.apply(parameters, batch.images)
        predicted = logits(triggered.flatten(0, 1)).argmax(dim=1).view(triggered.shape[:2])
        hits += ((predicted == arms.target[:, None]) * arms.weights(batch.labels)).sum(dim=1)
    return hits / arms.weights(images.labels).sum(dim=1)


@torch.no_grad()
def settle(
    logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, images: Images
) -> tuple[Parameters, Tensor]:
    """Scale every trigger to the weakest multiple that works, so that strengths are compared at equal success.

    An optimiser stops a little above or below the success that it aims at; near the bar that luck moves the strength
    by a third. The crossing is interpolated on a log scale between the factors tried.

    Returns:
        The scaled triggers, and (A,) bool: whether any multiple reached LEAST_SUCCESS. Where none did, the trigger is
        returned as it came; where none reached REQUIRED_SUCCESS, it is scaled to the best success there is.
    """
    images = images[:SETTLING_IMAGES]
    ones = torch.ones(len(arms), device=arms.target.device)
    rates = torch.stack(
        [success_rates(logits, family, family.scaled(parameters, ones * f), arms, images) for f in FACTORS]
    )  # (F, A)
    best = rates.amax(dim=0)
    works = best >= LEAST_SUCCESS
    required = best.clamp_max(REQUIRED_SUCCESS)
    first = (rates >= required).float().argmax(dim=0)  # the weakest factor that works
    log_factors = torch.tensor(FACTORS, device=ones.device).log()
    before = (first - 1).clamp_min(0)
    below, above = (rates.gather(0, i[None])[0] for i in (before, first))
    share = ((required - below) / (above - below).clamp_min(1e-6)).clamp(0, 1)
    crossing = torch.lerp(log_factors[before], log_factors[first], share).exp()
    return family.scaled(parameters, torch.where(works, crossing, ones)), works
