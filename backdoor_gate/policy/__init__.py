"""The policy file: what may be scanned, how it is measured, what decides. Free of tensor libraries and of MLflow."""

from __future__ import annotations

from backdoor_gate.policy.load import load, parse
from backdoor_gate.policy.plan import ModelPlan, Policy, Signing
from backdoor_gate.policy.schema import json_schema

__all__ = ["ModelPlan", "Policy", "Signing", "json_schema", "load", "parse"]
