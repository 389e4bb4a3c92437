"""Runs the graph of an exported program, operator by operator, as an ordinary module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.pt2.apart import check_apart
from backdoor_gate.scan.loading.pt2.arguments import Here, Ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backdoor_gate.scan.loading.pt2.graph import Graph, Step

_LARGEST = 1 << 62
"""Sizes beyond this are no sizes, and products of them would grow without end."""


class GraphNetwork(nn.Module):
    """A network given as a graph; takes images (N, C, H, W) float32 and returns the graph's output.

    Args:
        graph: the checked program.
        tensors: its weights and constants by graph value.
        where: the file, for messages.
    """

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor], where: str) -> None:
        super().__init__()
        self._graph = graph
        self._where = where
        self._slots: dict[str, str] = {}
        for index, (value, (_, name)) in enumerate(graph.weights.items()):
            slot = f"tensor_{index}"
            self._slots[value] = slot
            if name in graph.parameters and tensors[value].is_floating_point():
                self.register_parameter(slot, nn.Parameter(tensors[value], requires_grad=False))
            else:
                self.register_buffer(slot, tensors[value])
        self._writes = any(step.writes for step in graph.steps)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the graph's output for images (N, C, H, W).

        Raises:
            UnmeasuredError: an operator fails, or the output is no tensor.
            RefusedError: the graph writes into its own weights.
        """
        images = images.to(torch.float32).contiguous()
        return self.run(images.clone() if self._writes else images)

    def run(self, images: Tensor) -> Tensor:
        """Return what `forward` does, for contiguous float32 images that the graph may write into."""
        values: dict[str, Any] = {value: getattr(self, slot) for value, slot in self._slots.items()}
        own = {tensor.untyped_storage().data_ptr() for tensor in values.values()} if self._writes else set()
        values[self._graph.input] = images
        for step in self._graph.steps:
            self._check_writes(step, values, own)
            values.update(zip(step.outputs, self._results(step, values, images.device), strict=True))
            for name in step.frees:
                values.pop(name, None)
        output = values[self._graph.output]
        if not isinstance(output, Tensor):
            raise UnmeasuredError("model output invalid: not a tensor", where=self._where)
        return output

    def _check_writes(self, step: Step, values: Mapping[str, Any], own: set[int]) -> None:
        if step.writes and values[step.writes].untyped_storage().data_ptr() in own:
            raise RefusedError("pt2: graph changes its own weights", where=self._where)

    def _results(self, step: Step, values: Mapping[str, Any], device: torch.device) -> tuple[Any, ...]:
        """Execute one step on values and return what each of its outputs is."""
        try:
            arguments = {name: _resolved(value, values, device) for name, value in step.arguments.items()}
            result = step.call(*(_resolved(value, values, device) for value in step.positional), **arguments)
            results = tuple(result) if step.spread else (result,)
            if len(results) != len(step.outputs):
                raise ValueError(f"{len(results)} results, not {len(step.outputs)}")
            if any(isinstance(value, (int, float)) and not -_LARGEST < value < _LARGEST for value in results):
                raise OverflowError("size out of range")
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError, NotImplementedError) as error:
            line = shown(str(error).partition("\n")[0], 200)
            hint = "correct model.input.shape, or export the model again with the shapes that it is used with"
            raise UnmeasuredError(f"{shown(step.label)} failed: {line}", where=self._where, hint=hint) from error
        return results

    def check(self, shape: tuple[int, int, int]) -> None:
        """Accept a graph that answers each image (C, H, W) by itself; raises as `apart.check_apart`."""
        tensors = {value: getattr(self, slot) for value, slot in self._slots.items()}
        own = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}

        def run(step: Step, values: Mapping[str, Any]) -> tuple[Any, ...]:
            self._check_writes(step, values, own)
            return self._results(step, values, torch.device("cpu"))

        check_apart(self._graph, tensors, shape, run, self._where)

    def tensor(self, value: str) -> Tensor:
        """Return the weight behind a value of the graph."""
        found: Tensor = getattr(self, self._slots[value])
        return found


def _resolved(value: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list):
        return [_resolved(item, values, device) for item in value]
    return device if isinstance(value, Here) else value
