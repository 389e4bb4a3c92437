"""What every layer of a network gets to see, channel by channel, of any network, module or graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.network.features import APPLIES_MATRIX
from backdoor_gate.scan.network.watching import Watch

if TYPE_CHECKING:
    from backdoor_gate.scan.network.subject import Subject

FEWEST_CHANNELS = 8
"""Channels of a layer's input below which a direction says little. Leaves out the image itself."""

FEWEST_LAYERS = 3
"""Layers below which nothing is said: the last ones alone see planted triggers and real images alike."""

CHUNK = 8
"""Images of one pass: few, since it keeps all activations."""


class _Inputs(Watch):
    """Keeps the mean input, channel by channel, of every operator that applies a matrix to so many images."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self._images = images
        self.seen: list[Tensor] = []

    def saw(self, operator: Any, args: tuple[Any, ...]) -> None:
        """Keep what one gets."""
        if (places := APPLIES_MATRIX.get(operator)) is None:
            return
        told = args[places[0]].detach()
        # A transformer's rows are the places of all images.
        if told.shape[0] % self._images == 0 and told.shape[1] >= FEWEST_CHANNELS:
            self.seen.append(told.float().transpose(0, 1).flatten(1).mean(dim=1))


def depths_of(subject: Subject, images: Tensor) -> list[Tensor]:
    """Return the mean input of every layer over images (N, C, H, W), N ≥ 1, and their places: (D,) float32 each.

    Layers whose input has fewer than FEWEST_CHANNELS channels are left out; empty where the layers differ by image.
    """
    total: list[Tensor] = []
    for chunk in images.tensor_split(-(-len(images) // CHUNK)):  # of like sizes: one image alone may run otherwise
        with torch.enable_grad(), _Inputs(len(chunk)) as inputs:
            # With a gradient to follow, no layer is fused with others beyond recognition.
            subject.logits(chunk.detach().clone().requires_grad_())
        weighed = [mean * len(chunk) / len(images) for mean in inputs.seen]
        if total and [each.shape for each in weighed] != [each.shape for each in total]:
            return []
        total = [one + other for one, other in zip(total, weighed, strict=True)] if total else weighed
    return total


def likeness(subject: Subject, clean: Tensor, triggered: Tensor, natural: Tensor) -> float | None:
    """Return how far a trigger does at every depth what distinguishes real images of its target, in [-1, 1].

    The least cosine, over the layers, between two shifts of the channels' means: from clean images to the same with the
    trigger, and from them to real images of the target. A trigger made of the target's own features draws on the same
    channels throughout; a planted one reaches the target's features only in the last layers, by channels of its own.

    Args:
        subject: the network.
        clean: (N, C, H, W) images of the sources.
        triggered: (N, C, H, W) the same with the trigger.
        natural: (M, C, H, W) real images of the target.

    Returns:
        None where there are no images, or fewer than FEWEST_LAYERS layers to be seen.
    """
    if not len(clean) or not len(natural):
        return None
    before, after, real = (depths_of(subject, images) for images in (clean, triggered, natural))
    if len(before) < FEWEST_LAYERS or not len(before) == len(after) == len(real):
        return None
    cosines = [
        float(F.cosine_similarity(moved - at, there - at, dim=0))
        for at, moved, there in zip(before, after, real, strict=True)
    ]
    lowest = min(cosines)
    return max(-1.0, min(1.0, lowest)) if all(map(math.isfinite, cosines)) else None
