"""What a program does in production is what was exported: nobody puts an exported network into evaluation mode later.

So a normalisation that goes by its batch, or a dropout that drops, does so behind the gate, too. Measured as if it did
not, it would be another network: one that drops a constant with certainty is a switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading.pt2.arguments import Ref
from backdoor_gate.scan.loading.pt2.operators import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_evaluation(target: str, arguments: Mapping[str, Any], where: str) -> None:
    """Accept an operator that does the same in production as here.

    Args:
        target: the operator's name.
        arguments: as decoded; a flag that the graph computes counts as set.
        where: the file, for messages.

    Raises:
        UnmeasuredError: it was exported in training mode.
    """
    if target in IDENTITY and arguments["train"] is not False and arguments["p"] != 0.0:
        raise in_training("a dropout drops", where)
    if target == "torch.ops.aten.scaled_dot_product_attention.default" and arguments.get("dropout_p", 0.0) != 0.0:
        raise in_training("attention is dropped", where)
    if target == "torch.ops.aten.batch_norm.default" and arguments["training"] is not False:
        raise in_training("a batch normalisation goes by each batch's own statistics", where)
    tracked = isinstance(arguments.get("running_mean"), Ref)
    if target == "torch.ops.aten.instance_norm.default" and tracked and arguments["use_input_stats"] is not False:
        raise in_training("an instance normalisation leaves its running statistics aside", where)


def in_training(what: str, where: str) -> UnmeasuredError:
    """Return the error for a program in training mode."""
    return UnmeasuredError(
        f"exported in training mode, and so it would run in production: {what}",
        where=where,
        hint="call model.eval(), then log or export the model again",
    )
