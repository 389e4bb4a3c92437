"""What a loader gives: a frozen network in evaluation mode, and the weights of its last layer where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


@dataclass(frozen=True, eq=False, slots=True)
class FinalLayer:
    """The last linear layer.

    Attributes:
        weight: (K, D) float32.
        bias: (K,) float32, or None.
    """

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A candidate as a network.

    Attributes:
        network: takes images (N, C, H, W) float32 as the candidate expects them (normalised, where the policy says so)
            and returns its raw output; float32, on CPU, in evaluation mode, every parameter frozen.
        format: `safetensors`, `state_dict`, `pt2`, `torchscript` or `pickle`.
        final_layer: the last linear layer, None where none was found.
        check: takes the shape (C, H, W) of an image and raises UnmeasuredError where the network is one that cannot be
            measured here as it runs in production; None: it is built by trusted code.
    """

    network: nn.Module
    format: str
    final_layer: FinalLayer | None
    check: Callable[[tuple[int, int, int]], None] | None = None
