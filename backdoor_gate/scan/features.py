"""The penultimate features of any network, module or graph: what its final linear layer gets to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from backdoor_gate.scan.probes import INFERENCE_CHUNK

if TYPE_CHECKING:
    from backdoor_gate.scan.subject import Subject

# Operators that apply a matrix to images, with the positions of the input and the matrix among their arguments. All
# others come down to these below the level where they are watched.
_aten = torch.ops.aten
APPLIES_MATRIX = {_aten.addmm.default: (1, 2), _aten.mm.default: (0, 1), _aten.convolution.default: (0, 1)}


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the input of the last operator that applies a matrix of the final layer's shape.

    The shape tells, not the tensor's identity: a network given as a graph has no layers, and moving weights to another
    device copies them.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shapes = ((classes, width), (width, classes))
        self.seen: Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        places = APPLIES_MATRIX.get(func)
        if places is not None:
            features, matrix = (args[place] for place in places)
            if tuple(matrix.shape[:2]) in self._shapes and matrix[0, 0].numel() == 1:
                self.seen = features
        return func(*args, **(kwargs or {}))


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
        with _Watch(*(layer.weight.shape if layer else (0, 0))) as watch:
            logits.append(subject.logits(chunk))
        if watch.seen is not None and watch.seen.shape[0] == len(chunk):
            # Where the layer is a 1x1 convolution, the mean over the places is what pooling makes of it.
            chunks.append(watch.seen.flatten(2).mean(dim=2) if watch.seen.dim() > 2 else watch.seen)
    penultimate = len(chunks) == len(logits)
    return torch.cat(chunks if penultimate else logits).float(), penultimate
