"""The whole job on two small models of real images: train, register, scan, and read the verdicts back."""

from __future__ import annotations

from backdoor_gate.demo.walkthrough import run

__all__ = ["run"]
