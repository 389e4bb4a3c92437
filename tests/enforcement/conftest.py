"""A registry with a gated door: the same database, opened once plainly and once as `gated+sqlite`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.promotion import Pipeline

from backdoor_gate.enforcement import policies, rules

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.tracking import MlflowClient


@pytest.fixture
def pipeline(sqlite_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline on the plain database, whose key the environment trusts."""
    made = Pipeline(sqlite_registry, tmp_path)
    monkeypatch.setenv(rules.TRUSTED, str(tmp_path / "gate.pub"))
    monkeypatch.delenv(rules.ALIASES, raising=False)
    monkeypatch.delenv(rules.STAGES, raising=False)
    monkeypatch.delenv(policies.POLICIES, raising=False)
    return made


@pytest.fixture
def gated(pipeline: Pipeline) -> MlflowClient:
    """MLflow's own client on the gated store: MLflow finds it by its entry point."""
    from mlflow.tracking import MlflowClient  # noqa: PLC0415
    from mlflow.tracking._model_registry.utils import _get_store_registry  # noqa: PLC0415

    _get_store_registry()._get_store_with_resolved_uri.cache_clear()  # the store reads its environment when it opens
    return MlflowClient(pipeline.uri, f"gated+{pipeline.uri}")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name of a model of this test's own."""
    return "gated-" + "".join(char if char.isalnum() else "-" for char in request.node.name)
