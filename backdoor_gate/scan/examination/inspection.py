"""What a candidate's bytes say of it, where nobody has told anything yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backdoor_gate.errors import GateError
from backdoor_gate.examination import Inspection
from backdoor_gate.scan import loading
from backdoor_gate.scan.loading import pt2
from backdoor_gate.scan.loading.pt2 import MAX_INPUT_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from backdoor_gate.records import Job
    from backdoor_gate.scan.loading.pt2 import Exported

FREE = 2
"""Size to try a free dimension with."""


def inspect(job: Job) -> Inspection:
    """Read the candidate's weights file and say what it holds.

    Raises:
        RefusedError: the bytes are not acceptable.
        UnmeasuredError: a weight is not finite, or the graph is no network from images to one tensor.
    """
    file = loading.find(job.candidate, job.formats, job.weights_in)
    if file.kind != "pt2":
        weights = loading.read_weights(file)
        return Inspection(file.kind, graph=False, fixed_batch=None, shape=None, num_classes=width_of_output(weights))
    assert file.archive is not None
    exported = pt2.read(file.archive, file.name)
    sizes = exported.graph.shape
    shape = None
    if len(sizes) == 4 and sizes[1] and sizes[2] and sizes[3]:
        shape = (sizes[1], sizes[2], sizes[3])
    return Inspection("pt2", True, exported.fixed_batch, shape, _classes(exported))


def width_of_output(weights: Mapping[str, Tensor]) -> int | None:
    """Return the rows of the linear layers that feed no other one, where these agree; None where they do not."""
    sizes = [weight.shape for weight in weights.values() if weight.dim() == 2]
    taken = {columns for _, columns in sizes}
    last = {rows for rows, _ in sizes if rows not in taken}
    return last.pop() if len(last) == 1 and min(last) > 1 else None


def _classes(exported: Exported) -> int | None:
    """Return the width of the graph's output on random images; of its last linear layer, where that fails."""
    sizes = torch.Size([size or FREE for size in exported.graph.shape])
    if sizes.numel() <= MAX_INPUT_ELEMENTS:
        try:
            with torch.no_grad():
                output = exported.network(torch.rand(sizes))
            if output.dim() == 2 and output.shape[1] > 1:
                return int(output.shape[1])
        except (GateError, RuntimeError, ValueError, TypeError, IndexError):
            pass  # the sizes tried for free dimensions may not suit it
    layer = exported.final_layer(None)
    return layer.weight.shape[0] if layer and layer.weight.shape[0] > 1 else None
