"""Batch normalisations of a graph folded into the convolutions before them, as `network.folding` does for modules."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from backdoor_gate.scan.loading.pt2.arguments import Ref, references
from backdoor_gate.scan.loading.pt2.graph import with_frees
from backdoor_gate.scan.network.folding import folded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from backdoor_gate.scan.loading.pt2.graph import Graph, Step

_CONVOLUTIONS = frozenset({"torch.ops.aten.conv2d.default", "torch.ops.aten.conv2d.padding"})
_NORM = "torch.ops.aten.batch_norm.default"
_KERNEL_DIMENSIONS = 4


def fold(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """Return the graph without the normalisations that alone use a convolution's output, and its tensors.

    Args:
        graph: the checked program.
        tensors: its weights and constants by graph value.
    """
    uses = Counter([graph.output])
    for step in graph.steps:
        uses.update([*references(step.arguments), *references(step.positional)])
    held, weights = dict(tensors), dict(graph.weights)
    new = "-" * max(map(len, (*weights, *(name for step in graph.steps for name in step.outputs))))
    steps: list[Step] = []
    made: dict[str, int] = {}  # the one value of each convolution → its place in `steps`
    for step in graph.steps:
        source = step.arguments.get("input")
        place = made.get(source.name) if step.label == _NORM and isinstance(source, Ref) else None
        both = None if place is None or uses[steps[place].outputs[0]] != 1 else _product(steps[place], step, tensors)
        if place is None or both is None:
            if step.label in _CONVOLUTIONS:
                made[step.outputs[0]] = len(steps)
            steps.append(step)
            continue
        names = {kind: f"{new}{kind} {place}" for kind in ("weight", "bias")}  # longer than any name of the file
        held |= dict(zip(names.values(), both, strict=True))
        weights |= {name: ("folded", name) for name in names.values()}
        arguments = steps[place].arguments | {kind: Ref(name) for kind, name in names.items()}
        steps[place] = replace(steps[place], arguments=arguments, outputs=step.outputs)
    return replace(graph, weights=weights, steps=with_frees(steps, {*weights, graph.output})), held


def _product(convolution: Step, norm: Step, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return weight and bias of both steps together; None where that is not what the graph says, or is too large."""
    given = [convolution.arguments.get(name) for name in ("weight", "bias")]
    given += [norm.arguments.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    epsilon = norm.arguments.get("eps")
    constant = all(value is None or (isinstance(value, Ref) and value.name in tensors) for value in given)
    if not constant or not isinstance(epsilon, float):
        return None
    kernel, offset, gain, shift, mean, variance = (None if value is None else tensors[value.name] for value in given)
    if kernel is None or mean is None or variance is None or kernel.dim() != _KERNEL_DIMENSIONS:
        return None
    if any(vector is not None and vector.shape != kernel.shape[:1] for vector in (offset, gain, shift, mean, variance)):
        return None
    return folded(kernel, offset, gain, shift, mean, variance, epsilon)
