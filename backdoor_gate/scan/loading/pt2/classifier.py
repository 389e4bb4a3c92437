"""Finds the classification layer of a network that is given as a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.scan.loading.interface import FinalLayer
from backdoor_gate.scan.loading.pt2.arguments import Ref

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.scan.loading.pt2.graph import Graph, Step
    from backdoor_gate.scan.loading.pt2.network import GraphNetwork

# Parameter names of the weight and the bias, and whether the weight is used as (K, D).
_LAYERS = {
    "linear": ("weight", "bias", True),
    "conv2d": ("weight", "bias", True),
    "convolution": ("weight", "bias", True),
    "addmm": ("mat2", "self", False),
    "mm": ("mat2", "", False),
    "matmul": ("other", "", False),
}
_TRANSPOSES = frozenset({"t", "transpose", "permute", "numpy_T", "mT"})


def final_layer(graph: Graph, network: GraphNetwork, num_classes: int | None) -> FinalLayer | None:
    """Return the last linear layer, or 1x1 convolution, whose weight and bias are parameters.

    Args:
        graph: the checked program.
        network: holds its weights.
        num_classes: how many outputs the layer must have; None for any.
    """
    matrices = {
        value: network.tensor(value).detach() for value, (_, name) in graph.weights.items() if name in graph.parameters
    }
    found = None
    for step in graph.steps:
        operator = step.label.removeprefix("torch.ops.aten.").partition(".")[0]
        source = step.arguments.get("self")
        if operator in _TRANSPOSES and isinstance(source, Ref) and source.name in matrices:
            if matrices[source.name].dim() == 2:
                matrices[step.outputs[0]] = matrices[source.name].t()
        elif operator in _LAYERS:
            layer = _layer(step, *_LAYERS[operator], matrices)
            if layer and num_classes in (None, layer.weight.shape[0]):
                found = layer
    return found


def _layer(
    step: Step, weight_name: str, bias_name: str, as_rows: bool, matrices: dict[str, Tensor]
) -> FinalLayer | None:
    """Return the layer that a step applies, None where its weight is no parameter or it mixes neighbouring pixels."""
    weight, bias = step.arguments.get(weight_name), step.arguments.get(bias_name)
    if not isinstance(weight, Ref) or weight.name not in matrices or step.arguments.get("groups", 1) != 1:
        return None
    if isinstance(bias, Ref) and bias.name not in matrices:
        return None
    matrix = matrices[weight.name]
    if matrix.dim() < 2 or matrix[0, 0].numel() != 1 or step.arguments.get("transposed"):
        return None
    rows = matrix.flatten(1) if as_rows else matrix.flatten(1).t()  # (K, D)
    return FinalLayer(rows.contiguous(), matrices[bias.name] if isinstance(bias, Ref) else None)
