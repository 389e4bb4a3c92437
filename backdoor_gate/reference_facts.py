"""What references say of a decision: the policy's, or else those of the gate's own networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """What references say of a decision, see `verdict.calibration`."""

    references: int
    """How many count."""
    excluded: int
    """How many were left out by hand."""
    blocked: int
    """How many of those that count the shipped limits block."""
    smallest_rate: float
    """Smallest false-block rate that they support."""
    digest: str
    """`sha256:<hex>` of their file; empty for those of the gate's own."""
    in_force: bool = False
    """Whether they support the policy's rate for this kind of model."""
    likely_bound: float | None = None
    """What the rate of these very references is at most, with 95 % confidence; None where they are not in force."""
    p_value: float | None = None
    """Chance that a clean model stands as far out among them; None where they say nothing of this model."""
    note: str = ""
    """Why they are not in force."""
    ours: bool = False
    """Whether they are of the gate's own networks: those inform, and are never in force."""
