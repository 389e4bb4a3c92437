"""MLflow's default format: a `torch.export` archive, read as data and interpreted, never handed to PyTorch's loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.pt2.classifier import final_layer
from backdoor_gate.scan.loading.pt2.folding import fold
from backdoor_gate.scan.loading.pt2.graph import Graph, read_graph
from backdoor_gate.scan.loading.pt2.members import open_package, refused
from backdoor_gate.scan.loading.pt2.network import GraphNetwork
from backdoor_gate.scan.loading.pt2.samples import check_samples
from backdoor_gate.scan.loading.pt2.traces import Trace, same
from backdoor_gate.scan.loading.pt2.weights import read_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from backdoor_gate.scan.loading.archive import Archive
    from backdoor_gate.scan.loading.interface import FinalLayer

MAX_INPUT_ELEMENTS = 1 << 26


@dataclass(frozen=True, eq=False, slots=True)
class Exported:
    """An exported program that has passed every check.

    Attributes:
        network: runs the graph.
        graph: the checked program.
        tensors: its weights and constants by graph value.
        weights: its state_dict: parameters and kept buffers by name.
        where: the file, for messages.
    """

    network: GraphNetwork
    graph: Graph
    tensors: dict[str, Tensor]
    weights: dict[str, Tensor]
    where: str

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size that the graph takes; None for any."""
        return self.graph.shape[0]

    def final_layer(self, num_classes: int | None) -> FinalLayer | None:
        """Return the last linear layer of that width; None where there is none."""
        return final_layer(self.graph, self.network, num_classes)

    def check_same(self, network: nn.Module, target: str) -> None:
        """Accept a graph that computes what the architecture does with the same weights, for every image.

        Otherwise what is measured is not what would be deployed.

        Args:
            network: the architecture, filled with `weights`.
            target: its name for messages.

        Raises:
            UnmeasuredError: they do not run the same operators on the same values, or one of them fails.
        """
        sizes = [size or 0 for size in self.graph.shape]
        if min(sizes) < 1 or torch.Size(sizes).numel() > MAX_INPUT_ELEMENTS:
            raise UnmeasuredError(f"input shape {tuple(sizes)} of the graph not supported", where=self.where)
        images = torch.rand(sizes, generator=torch.Generator().manual_seed(0))
        expected = Trace().record(GraphNetwork(self.graph, self.tensors, self.where).run, images.clone())
        try:
            found = Trace().record(network, images.clone())
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            line = shown(str(error).partition("\n")[0], 200)
            raise UnmeasuredError(f"{target} fails on the graph's input: {line}", where=self.where) from error
        if not same(found, expected):
            hint = "log it again with an input example of batch >= 2; or name the architecture that was exported"
            reason = f"the graph cannot be shown to compute what {target} does"
            raise UnmeasuredError(f"pt2 of a fixed batch: {reason}", where=self.where, hint=hint)


def read(archive: Archive, where: str) -> Exported:
    """Read an exported program.

    Args:
        archive: the checked zip.
        where: the file, for messages.

    Raises:
        RefusedError: anything in it is outside the allow-list, malformed or missing.
        UnmeasuredError: a weight is not finite, or the program is no network from images to one tensor.
    """
    package = open_package(archive, where)
    check_samples(package.samples, where)
    graph = read_graph(package.program, where)
    state, constants = read_weights(package)
    held = {"state": state, "constant": constants}
    tensors = {}
    for value, (place, name) in graph.weights.items():
        if name not in held[place]:
            raise refused(f"tensor missing: {shown(name)}", where)
        tensors[value] = held[place][name]
    return Exported(GraphNetwork(*fold(graph, tensors), where), graph, tensors, state, where)


def fixed_batch_error(batch: int, where: str) -> UnmeasuredError:
    """Return the error for a program that no batch of another size can be put through."""
    hint = "log the model again with an input example of batch >= 2, or name model.architecture in the policy"
    return UnmeasuredError(f"exported with a fixed batch of {batch}", where=where, hint=hint)
