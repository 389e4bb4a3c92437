"""How often a trigger works, and the weakest form of it that works."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.plausible import WORKING_SUCCESS
from backdoor_gate.scan.triggers.images import Images, members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.scan.triggers.arms import Arms
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

Logits = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) → logits (B, K)."""

REQUIRED_SUCCESS = 0.95
"""Success rate on the optimisation images at which strengths are compared. Above WORKING_SUCCESS, since a trigger
always does a little worse on images that it has not seen."""

WEAKEST, STRONGEST = 0.64, 2.44
"""Multiples of the optimised strength between which the crossing is searched. A warp twice as strong often fails."""

UPWARDS = (math.log(STRONGEST) / 2, math.log(STRONGEST))
"""Steps up, as logarithms, while no multiple is enough."""

SETTLING_ROUNDS = 4
"""Replays of every trigger until it is settled: the crossing is known to 6 to 22 %, before interpolation."""

SETTLING_IMAGES = 80
"""Optimisation images on which the final strength is measured: ±2 points of success at the bar."""

REPLAY_CHUNK = 32
"""Images per arm in one forward pass at most."""

REPLAY_ROWS = 128
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
        predicted = _output(logits, family, parameters, images.images[chosen]).argmax(dim=2)
        hits += (arms.reached(predicted) * weight).sum(dim=1)
        count += weight.sum(dim=1)
    return hits / count


def _chunks(arms: Arms, images: Images, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each arm's images in passes that fit: indices (1 or A, M) and weights (A, M)."""
    indices, weights = members(arms, images.labels, most)
    size = min(REPLAY_CHUNK, max(1, REPLAY_ROWS // len(arms)))
    return zip(torch.split(indices, size, dim=1), torch.split(weights, size, dim=1), strict=True)


def _output(logits: Logits, family: TriggerFamily, parameters: Parameters, images: Tensor) -> Tensor:
    """Return the logits of each arm's triggered images, (1 or A, M, C, H, W) → (A, M, K)."""
    triggered = family.apply(parameters, images)
    return logits(triggered.flatten(0, 1)).view(*triggered.shape[:2], -1)


@torch.no_grad()
def resolve(logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, images: Images) -> Arms:
    """Give every arm the one target that its images are likeliest to go to, among those that will do."""
    if arms.among is None:
        return arms
    likely = torch.zeros(arms.source.shape, device=images.labels.device)  # (A, K)
    for chosen, weight in _chunks(arms, images, SETTLING_IMAGES):
        output = _output(logits, family, parameters, images.images[chosen])
        likely += (output.softmax(dim=2) * weight[:, :, None]).sum(dim=1)
    return arms.resolved(torch.where(arms.among, likely, -1.0).argmax(dim=1))


@torch.no_grad()
def settle(
    logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, images: Images
) -> tuple[Parameters, Tensor]:
    """Scale every trigger to the weakest multiple that works, so that strengths are compared at equal success.

    An optimiser stops a little above or below the success that it aims at; near the bar that luck moves the strength
    by a third. Every arm follows its own crossing, on a log scale: up until a multiple is enough, then by halves, and
    between the last two by interpolation.

    Returns:
        The scaled triggers, and (A,) bool: whether any multiple reached WORKING_SUCCESS. Where none did, the trigger is
        returned as it came; where none reached REQUIRED_SUCCESS, it is scaled to the best success found.
    """
    as_it_came = torch.zeros(len(arms), device=arms.target.device)
    tried, rates = [as_it_came + math.log(WEAKEST)], [as_it_came]  # taken for failing, and never replayed
    at = as_it_came
    for _ in range(SETTLING_ROUNDS):
        scaled = family.scaled(parameters, at.exp())
        tried.append(at)
        rates.append(success_rates(logits, family, scaled, arms, images, SETTLING_IMAGES).nan_to_num())
        low, high, _ = _crossing(torch.stack(tried), torch.stack(rates))
        upwards = (torch.stack(rates).amax(dim=0) < REQUIRED_SUCCESS) & (torch.stack(tried).amax(dim=0) < UPWARDS[-1])
        further = torch.where(at < UPWARDS[0], UPWARDS[0], UPWARDS[1])
        at = torch.where(upwards, further, (low + high) / 2)
    low, high, share = _crossing(torch.stack(tried), torch.stack(rates))
    works = torch.stack(rates).amax(dim=0) >= WORKING_SUCCESS
    return family.scaled(parameters, torch.where(works, torch.lerp(low, high, share), as_it_came).exp()), works


def _crossing(tried: Tensor, rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return between which multiples success becomes enough, and at which share of the way.

    Args:
        tried: (R, A) logarithms of the multiples.
        rates: (R, A) their success.

    Returns:
        (A,) the largest that is not enough below (A,) the least that is, and (A,) the share in [0, 1].
    """
    required = rates.amax(dim=0).clamp_max(REQUIRED_SUCCESS)
    high, at = torch.where(rates >= required, tried, torch.inf).min(dim=0)
    low, below = torch.where(tried < high, tried, tried[0]).max(dim=0)
    rate_high, rate_low = (rates.gather(0, place[None])[0] for place in (at, below))
    return low, high, ((required - rate_low) / (rate_high - rate_low).clamp_min(1e-6)).clamp(0, 1)
