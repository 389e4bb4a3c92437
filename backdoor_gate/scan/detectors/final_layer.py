"""Final-layer statistics: does one class's row of the last layer stand apart from the others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.records import Evidence, Inconclusive, Measured, NotApplicable

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.interface import Context


class FinalLayerStatistics:
    """Score (‖W_c‖ + |b_c|)·(1 + |mean - median| / sd) of each class, on centred rows, as a logarithm.

    Source: re-derived from the abstract of DFBScanner (arXiv 2605.18907). Rows are centred over the classes first,
    since a softmax ignores a vector that is added to all of them.
    """

    name: ClassVar[str] = "final_layer"
    controlled: ClassVar[bool] = False

    def planned_passes(self, context: Context) -> int:
        """No image is used."""
        return 0

    def planned_leading(self, context: Context) -> int:
        """No image is used."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Score the rows."""
        layer = context.subject.final_layer
        if layer is None:
            return NotApplicable(self.name, "the network has no final linear layer")
        if layer.weight.shape[0] != context.subject.num_classes:
            return NotApplicable(self.name, "the last linear layer does not give the classes")
        weight = layer.weight.double()
        weight = weight - weight.mean(dim=0)
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.double() - layer.bias.double().mean()
        skew = (weight.mean(dim=1) - weight.median(dim=1).values).abs() / weight.std(dim=1).clamp_min(1e-12)
        score = ((weight.norm(dim=1) + bias.abs()) * (1 + skew)).clamp_min(1e-12).log()
        if not score.isfinite().all():
            return Inconclusive(self.name, "the scores are not finite")
        return Measured(self.name, tuple(score.tolist()))
