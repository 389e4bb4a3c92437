"""Registered models to read: a network logged by MLflow, and plain weights registered without an MLmodel file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.errors import RegistryReadError
from backdoor_gate.mlflow_client import conversation

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Store:
    """A store with one logged network (`digits`, version 1) and one folder of weights (`weights`, version 1)."""

    uri: str
    client: MlflowClient
    run_id: str
    model_id: str


def fill(uri: str, folder: Path) -> Store:
    """Log and register a pt2 model and a safetensors folder."""
    import mlflow  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415
    from safetensors.numpy import save_file  # noqa: PLC0415

    torch.set_num_threads(1)
    save_file({"weight": np.ones((3, 4), np.float32)}, folder / "model.safetensors")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    with conversation(uri, RegistryReadError):
        mlflow.set_tracking_uri(uri)
        try:
            with mlflow.start_run() as run:
                example = np.zeros((2, 1, 4, 4), np.float32)
                logged = mlflow.pytorch.log_model(
                    network,
                    name="net",
                    input_example=example,
                    registered_model_name="digits",
                    pip_requirements=["torch"],
                )
                mlflow.log_artifact(str(folder / "model.safetensors"), "weights")
        finally:
            mlflow.set_tracking_uri(None)
        client = MlflowClient(uri)
        client.create_registered_model("weights")
        source = f"{run.info.artifact_uri}/weights"
        client.create_model_version("weights", source=source, run_id=run.info.run_id)
    return Store(uri, client, run.info.run_id, logged.model_id)


@pytest.fixture(scope="session")
def local_store(sqlite_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The SQLite store, filled."""
    return fill(sqlite_registry, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def server_store(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The server, filled."""
    return fill(mlflow_server, tmp_path_factory.mktemp("weights"))


@pytest.fixture(params=["local_store", "server_store"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the two stores in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found
