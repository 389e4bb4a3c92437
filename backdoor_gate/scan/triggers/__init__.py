"""One trigger-optimisation engine, many trigger families. Pure tensors, always batched, no input or output."""

from backdoor_gate.scan.triggers.arms import Arms, all_to_one, pairs
from backdoor_gate.scan.triggers.images import Images
from backdoor_gate.scan.triggers.optimise import Inversion, InversionBudget, approach, invert
from backdoor_gate.scan.triggers.replay import settle, success_rates

__all__ = [
    "Arms",
    "Images",
    "Inversion",
    "InversionBudget",
    "all_to_one",
    "approach",
    "invert",
    "pairs",
    "settle",
    "success_rates",
]
