"""One picture of the network's inside: where it puts clean images, and where the weakest trigger moves some of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backdoor_gate.illustrations import Embedding
from backdoor_gate.scan.network.features import features_of

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.interface import Weakest
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Images

CLEAN = 200
"""Clean images at most."""

TRIGGERED = 100
"""Of these, images that are shown with the trigger as well, at most."""

COMPONENTS = 16
"""Principal components that are kept."""


def planned_passes(held_out: Images) -> int:
    """Return the images that `embed` puts through the network, at most."""
    return min(len(held_out), CLEAN) + min(len(held_out), TRIGGERED)


def embed(subject: Subject, held_out: Images, detector: str, found: Weakest) -> Embedding | None:
    """Show what a trigger does to the features of held-out images; None where that cannot be had.

    Args:
        subject: the network.
        held_out: images that no trigger was optimised on.
        detector: whose trigger it is.
        found: the trigger.
    """
    started, before = time.monotonic(), subject.passes
    moved, others = _choose(held_out, found)
    if not len(moved):
        return None
    shown = torch.cat([moved, others])
    parameters = tuple(p.to(held_out.images.device) for p in found.parameters)
    try:
        with torch.no_grad():
            triggered = found.family.apply(parameters, held_out.images[moved])[0]
        features, penultimate = features_of(subject, torch.cat([held_out.images[shown], triggered]))
        components, shares = principal_components(features)
    except Exception:  # whatever a stranger's network raises: a figure must not cost the scan
        return None
    return Embedding(
        components=components.numpy(),
        shares=tuple(shares.tolist()),
        labels=tuple(held_out.labels[torch.cat([shown, moved])].tolist()),
        triggered=(False,) * len(shown) + (True,) * len(moved),
        penultimate=penultimate,
        detector=detector,
        target=found.target,
        source=found.source,
        seconds=time.monotonic() - started,
        model_passes=subject.passes - before,
    )


def _choose(images: Images, found: Weakest) -> tuple[Tensor, Tensor]:
    """Return which images get the trigger and which are only shown clean: of the target as many as there are."""
    labels = images.labels
    movable = found.moves.to(labels.device)[labels]
    moved = movable.nonzero()[:TRIGGERED, 0]
    rest = torch.ones_like(movable)
    rest[moved] = False
    order = (labels != found.target).int().argsort(stable=True)  # the target's first
    return moved, order[rest[order]][: CLEAN - len(moved)]


def principal_components(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal components of features (N, D): coordinates (N, P) float32, and shares of the variance (P,).

    By the eigenvectors of the N×N matrix of inner products, which are the left singular vectors of the centred features
    and cost the same for any D. Each is turned so that its largest coordinate is positive.

    Raises:
        ArithmeticError: the features are not finite, or all the same.
    """
    centred = features.double().cpu()
    centred = centred - centred.mean(dim=0)
    if not centred.isfinite().all():
        raise FloatingPointError("the features are not finite")
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    total = float(values.sum())
    if not 0 < total < float("inf"):
        raise FloatingPointError("the features carry no information")
    kept = min(COMPONENTS, len(values))
    coordinates = vectors[:, :kept] * values[:kept].sqrt()
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0)[None])
    coordinates = coordinates * torch.where(largest < 0, -1.0, 1.0)
    # In units of the widest component: features of any size fit float32.
    coordinates = coordinates / values[0].sqrt()
    return coordinates.float(), (values[:kept] / total).clamp(0, 1)
