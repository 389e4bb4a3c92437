"""By how much a class leads the others: of all classes, of the one that the network names, and of one to climb to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def leads(logits: Tensor) -> Tensor:
    """Return by how much each class leads the strongest other one, (N, K); negative but for the image's own."""
    top = logits.topk(2, dim=1)
    strongest = top.values[:, :1].expand_as(logits).scatter(1, top.indices[:, :1], top.values[:, 1:])
    return logits - strongest


def named_leads(logits: Tensor) -> Tensor:
    """Return by how much the class that the network names leads the next one, (N, K) → (N,) ≥ 0."""
    top = logits.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return by how much each image's target leads, (N, K) and (N,) → (N,).

    The same as `leads` gives, to be climbed: where several others are equally strong, the gradient is of all of them.
    """
    own = logits.gather(1, targets[:, None])[:, 0]
    others = logits.scatter(1, targets[:, None], -torch.inf).amax(dim=1)
    return own - others
