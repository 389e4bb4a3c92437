"""How far a change of the images pushes them to each class: beyond the border, where a natural change stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.scan.leads import named_leads

if TYPE_CHECKING:
    from torch import Tensor

LEAST_LEAD = 1e-3
"""Of logits: below it no lead is usual."""


def pushed(before: Tensor, after: Tensor, usual: float) -> Tensor:
    """Return how far leads have moved, as a share of the way from where they were to 0, or of the usual lead if more.

    A push of 1 takes the images to the border of the class.

    Args:
        before: leads, of any shape, see `scan.leads`.
        after: leads, of that shape.
        usual: as `usual_lead` returns it.
    """
    return (after - before) / (-before).clamp_min(usual)


def sent(logits: Tensor, target: int) -> Tensor:
    """Return which images the network sends to a class: (N,) bool of their (N, K) logits."""
    return logits.argmax(dim=1) == target


def share_sent(logits: Tensor, target: int) -> float:
    """Return the share of the images, at least one, that the network sends to a class."""
    return float(sent(logits, target).float().mean())


def usual_lead(logits: Tensor) -> float:
    """Return the median lead of the class that the network names: what it takes to get there from nowhere."""
    return max(float(named_leads(logits).median()), LEAST_LEAD)
