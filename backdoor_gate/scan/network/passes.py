"""Forward passes over any number of images, so many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from backdoor_gate.scan.network.subject import Subject

INFERENCE_CHUNK = 128
"""Images of one forward pass outside the optimisation."""


@torch.no_grad()
def finite_logits(subject: Subject, images: Tensor, *, leading: bool = False) -> Tensor:
    """Return (N, K) logits of (N, C, H, W) images, in passes of a bearable size.

    Args:
        subject: the network.
        images: any number of them, at least one.
        leading: whether the faster and coarser passes will do, see `Subject.leading`.

    Raises:
        FloatingPointError: they are not finite.
    """
    put = subject.leading if leading else subject.logits
    logits = torch.cat([put(chunk) for chunk in torch.split(images, INFERENCE_CHUNK)])
    if not logits.isfinite().all():
        raise FloatingPointError("the network's output is not finite")
    return logits


@torch.no_grad()
def predict(subject: Subject, images: Tensor) -> Tensor:
    """Return the class of each image, (N,) int64."""
    return torch.cat([subject.logits(chunk).argmax(dim=1) for chunk in torch.split(images, INFERENCE_CHUNK)])
