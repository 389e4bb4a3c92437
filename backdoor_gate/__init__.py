"""The gate between a trained model and production: load, measure for backdoors, decide, say why.

`audit_model` is the gate as a function; it and what it returns are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdoor_gate.api import audit_model as audit_model
    from backdoor_gate.records import AuditReport as AuditReport
    from backdoor_gate.records import Verdict as Verdict

__version__ = "0.1.0"

_PLACES = {"audit_model": "api", "AuditReport": "records", "Verdict": "records"}

__all__ = ["AuditReport", "Verdict", "__version__", "audit_model"]


def __getattr__(name: str) -> object:
    """Import a public name on its first use: the command line and the worker do without most of them."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
