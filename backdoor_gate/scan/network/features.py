"""The penultimate features of any network, module or graph: what its final linear layer gets to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from backdoor_gate.scan.network.passes import INFERENCE_CHUNK
from backdoor_gate.scan.network.watching import Watch

if TYPE_CHECKING:
    from backdoor_gate.scan.network.subject import Subject

# Operators that apply a matrix to images, with the positions of the input and the matrix among their arguments. All
# others come down to these below the level where they are watched.
_aten = torch.ops.aten
APPLIES_MATRIX = {_aten.addmm.default: (1, 2), _aten.mm.default: (0, 1), _aten.convolution.default: (0, 1)}


class _LastInput(Watch):
    """Keeps the input of the last operator that applies a matrix of the final layer's shape.

    The shape tells, not the tensor's identity: a network given as a graph has no layers, and moving weights to another
    device copies them.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self._shapes = ((classes, width), (width, classes))
        self.seen: Tensor | None = None

    def saw(self, operator: Any, args: tuple[Any, ...]) -> None:
        """Keep what one gets, if it is of that shape."""
        if (places := APPLIES_MATRIX.get(operator)) is None:
            return
        features, matrix = (args[place] for place in places)
        if tuple(matrix.shape[:2]) in self._shapes and matrix[0, 0].numel() == 1:
            self.seen = features


@torch.no_grad()
def features_of(subject: Subject, images: Tensor) -> tuple[Tensor, bool]:
    """Return the features of images (N, C, H, W).

    Returns:
        (N, D) float32, and whether they are the penultimate ones; else they are the logits, for want of a final layer.
    """
    layer = subject.final_layer
    chunks: list[Tensor] = []
    logits: list[Tensor] = []
    for chunk in torch.split(images, INFERENCE_CHUNK):
        with _LastInput(*(layer.weight.shape if layer else (0, 0))) as last:
            logits.append(subject.logits(chunk))
        if last.seen is not None and last.seen.shape[0] == len(chunk):
            # Where the layer is a 1x1 convolution, the mean over the places is what pooling makes of it.
            chunks.append(last.seen.flatten(2).mean(dim=2) if last.seen.dim() > 2 else last.seen)
    penultimate = len(chunks) == len(logits)
    return torch.cat(chunks if penultimate else logits).float(), penultimate
