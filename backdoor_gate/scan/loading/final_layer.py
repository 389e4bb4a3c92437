"""Finds the classification layer of a network that is made of modules."""

from __future__ import annotations

from torch import nn

from backdoor_gate.scan.loading.interface import FinalLayer


def final_layer(network: nn.Module, num_classes: int | None) -> FinalLayer | None:
    """Return the last linear layer, or 1x1 convolution, in module order.

    Args:
        network: float32, frozen.
        num_classes: how many outputs it must have; None for any.
    """
    for module in reversed(list(network.modules())):
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and _is_pointwise(module)):
            weight = module.weight.detach().flatten(1)  # (K, D)
            if num_classes in (None, weight.shape[0]):
                return FinalLayer(weight, None if module.bias is None else module.bias.detach())
    return None


def _is_pointwise(module: nn.Conv2d) -> bool:
    return module.kernel_size == (1, 1) and module.groups == 1
