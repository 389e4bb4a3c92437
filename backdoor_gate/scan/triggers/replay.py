"""How often a trigger works, and the weakest form of it that works."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.scan.triggers.images import Images, members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.scan.triggers.arms import Arms
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

Logits = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) → logits (B, K)."""

REQUIRED_SUCCESS = 0.95
"""Success rate on the optimisation images at which strengths are compared. Above the 0.9 that a verdict asks for on
held-out images, since a trigger always does a little worse on images that it has not seen."""

LEAST_SUCCESS = 0.85
"""Below this on the optimisation images a trigger does not work at all. A verdict asks for 0.9 on held-out images: what
lies between is measured, so that the other classes are compared with it."""

WEAKEST, STRONGEST = 0.64, 2.44
"""Multiples of the optimised strength between which the crossing is searched. A warp twice as strong often fails."""

BISECTIONS = 3
"""On a log scale: the crossing is known to 6 %, before interpolation."""

SETTLING_ROUNDS = BISECTIONS + 3
"""Replays of every trigger until it is settled."""

SETTLING_IMAGES = 125
"""Optimisation images on which the final strength is measured: ±2 points of success at the bar."""

REPLAY_CHUNK = 32
"""Images per arm in one forward pass at most."""

REPLAY_ROWS = 320
"""Images of all arms in one forward pass, where an arm gets more than one."""


@torch.no_grad()
def success_rates(  # noqa: PLR0913, PLR0917 (a trigger, and what to put it on)
    logits: Logits,
    family: TriggerFamily,
    parameters: Parameters,
    arms: Arms,
    images: Images,
    most: int = sys.maxsize,
) -> Tensor:
    """Replay every arm's trigger.

    Args:
        logits: the frozen network.
        family: the kind of trigger.
        parameters: of A triggers.
        arms: their sources and targets.
        images: the images to put them on.
        most: of them per arm.

    Returns:
        (A,) share of the arm's source images that go to its target, in [0, 1]; NaN for an arm without source images.
    """
    hits = torch.zeros(len(arms), device=images.labels.device)
    count = torch.zeros_like(hits)
    for chosen, weight in _chunks(arms, images, most):
        predicted = _predicted(logits, family, parameters, images.images[chosen])
        hits += (arms.reached(predicted) * weight).sum(dim=1)
        count += weight.sum(dim=1)
    return hits / count


def _chunks(arms: Arms, images: Images, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each arm's images in passes that fit: indices (1 or A, M) and weights (A, M)."""
    indices, weights = members(arms, images.labels, most)
    size = min(REPLAY_CHUNK, max(1, REPLAY_ROWS // len(arms)))
    return zip(torch.split(indices, size, dim=1), torch.split(weights, size, dim=1), strict=True)


def _predicted(logits: Logits, family: TriggerFamily, parameters: Parameters, images: Tensor) -> Tensor:
    """Return the class of each arm's triggered images, (1 or A, M, C, H, W) → (A, M) int64."""
    triggered = family.apply(parameters, images)
    return logits(triggered.flatten(0, 1)).argmax(dim=1).view(triggered.shape[:2])


@torch.no_grad()
def resolve(logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, images: Images) -> Arms:
    """Give every arm the one target where most of its images go, among those that will do."""
    if arms.among is None:
        return arms
    counts = torch.zeros(arms.source.shape, device=images.labels.device)  # (A, K)
    for chosen, weight in _chunks(arms, images, SETTLING_IMAGES):
        predicted = _predicted(logits, family, parameters, images.images[chosen])
        counts.scatter_add_(1, predicted, weight)
    return arms.resolved(torch.where(arms.among, counts, -1.0).argmax(dim=1))


@torch.no_grad()
def settle(
    logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, images: Images
) -> tuple[Parameters, Tensor]:
    """Scale every trigger to the weakest multiple that works, so that strengths are compared at equal success.

    An optimiser stops a little above or below the success that it aims at; near the bar that luck moves the strength
    by a third. The crossing is bisected, then interpolated, on a log scale.

    Returns:
        The scaled triggers, and (A,) bool: whether any multiple reached LEAST_SUCCESS. Where none did, the trigger is
        returned as it came; where none reached REQUIRED_SUCCESS, it is scaled to the best success found.
    """

    def rates(log_factor: Tensor) -> Tensor:
        scaled = family.scaled(parameters, log_factor.exp())
        return success_rates(logits, family, scaled, arms, images, SETTLING_IMAGES)

    as_it_came = torch.zeros(len(arms), device=arms.target.device)
    ladder = [as_it_came + math.log(factor) for factor in (WEAKEST, 1.0, math.sqrt(STRONGEST), STRONGEST)]
    reached = [torch.zeros_like(as_it_came), *(rates(rung) for rung in ladder[1:])]
    best = torch.stack(reached).amax(dim=0)
    required = best.clamp_max(REQUIRED_SUCCESS)
    low, rate_low, high, rate_high = ladder[-2], reached[-2], ladder[-1], reached[-1]
    for below, above in ((1, 2), (0, 1)):  # the lowest rung that is enough counts
        enough = reached[above] >= required
        low, rate_low = torch.where(enough, ladder[below], low), torch.where(enough, reached[below], rate_low)
        high, rate_high = torch.where(enough, ladder[above], high), torch.where(enough, reached[above], rate_high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        rate = rates(middle)
        enough = rate >= required
        low, rate_low = torch.where(enough, low, middle), torch.where(enough, rate_low, rate)
        high, rate_high = torch.where(enough, middle, high), torch.where(enough, rate, rate_high)
    share = ((required - rate_low) / (rate_high - rate_low).clamp_min(1e-6)).clamp(0, 1)
    works = best >= LEAST_SUCCESS
    return family.scaled(parameters, torch.where(works, torch.lerp(low, high, share), as_it_came).exp()), works
