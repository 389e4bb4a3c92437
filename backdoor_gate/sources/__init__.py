"""Where candidates come from. Picking a source imports neither MLflow nor a tensor library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.sources.references import data_place, is_artifact, is_registry

if TYPE_CHECKING:
    from backdoor_gate.sources.interface import Source

__all__ = ["data_place", "is_artifact", "is_registry", "source_for"]


def source_for(reference: str, tracking_uri: str | None = None) -> Source:
    """Return the source that a reference belongs to, by its form alone.

    Args:
        reference: MODEL as the user gave it.
        tracking_uri: of MLflow; None leaves it to MLflow's own environment variables.
    """
    if is_artifact(reference):
        from backdoor_gate.sources.mlflow import MlflowSource  # noqa: PLC0415

        return MlflowSource(tracking_uri)
    from backdoor_gate.sources.directory import DirectorySource  # noqa: PLC0415

    return DirectorySource(tracking_uri)
