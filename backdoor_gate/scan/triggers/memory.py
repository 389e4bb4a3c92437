"""How much memory one image takes in an optimisation step: counted, never timed, so that groups are reproducible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily
    from backdoor_gate.scan.triggers.images import Images
    from backdoor_gate.scan.triggers.replay import Logits

OVERHEAD = 2
"""Saved activations are about half of the peak: gradients and work space of the backward pass come on top."""


def activation_bytes_per_image(logits: Logits, family: TriggerFamily, images: Images) -> int:
    """Return the bytes that one triggered image holds between forward and backward pass.

    Args:
        logits: the frozen network.
        family: the kind of trigger.
        images: at least two; what two hold more than one does leaves the weights out.
    """
    one, two = (_saved_bytes(logits, family, images[:count]) for count in (1, 2))
    return OVERHEAD * max(1, two - one)


def _saved_bytes(logits: Logits, family: TriggerFamily, images: Images) -> int:
    """Return the size of all storages that a forward pass keeps for the backward pass."""
    storages: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = family.start(1, torch.Generator().manual_seed(0))
    parameters = tuple(p.to(images.images.device).requires_grad_() for p in start)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        output = logits(family.apply(parameters, images.images).flatten(0, 1))
    del output
    return sum(storages.values())
