"""A registry store for an MLflow server that refuses aliases and stages without a signed PASS, whoever asks.

MLflow loads this module in every process that opens a registry, so importing it loads nothing else.
"""

from __future__ import annotations

from typing import Any

SCHEME = "gated+"
"""In front of a database URI: `gated+sqlite:////data/mlflow.db`."""


def open_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """Return the gated store for a URI such as `gated+postgresql://host/db`; MLflow calls this.

    Args:
        store_uri: scheme `gated+`, then the URI of a database.
        tracking_uri: not needed; MLflow passes it to every store.

    Raises:
        UsageError: the server's environment names no trusted key, no readable policy, or an unknown stage.
    """
    from backdoor_gate.enforcement.store import gated  # noqa: PLC0415

    return gated(store_uri.removeprefix(SCHEME))
