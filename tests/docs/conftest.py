"""A workplace where what the documents show can be done: a registry, a model that passes, a policy, data and keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import stand_ins
from safetensors.numpy import save_file
from support import digits

from backdoor_gate.errors import OutputError
from backdoor_gate.mlflow_client import conversation
from backdoor_gate.publishers.attestation.keys import create_pair

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "digits"
POLICY = """\
version: 1
model: {num_classes: 10, input: {shape: [3, 32, 32]}, formats: [pt2]}
data: {clean: clean.npz, max_images: 100}
detectors: {max_margin: {restarts: 1, steps: 5}}
signing: {key: env:GATE_SIGNING_KEY, trusted: [keys/gate.pub]}
"""
NETWORK = """\
from torch import nn


def build(classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))
"""


@dataclass(frozen=True)
class Workplace:
    """A folder as a pipeline's checkout, and the environment of its commands."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as a pipeline would, stopping at the first failure."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def copy(self, folder: Path) -> Workplace:
        """Return the same at another place, with the same registry."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Workplace(folder, self.environment)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The workplace that every document starts from; no version of the model has been scanned."""
    folder, home = tmp_path_factory.mktemp("workplace"), tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'registry.db'}"
    _write_files(folder)
    _register(uri, home)
    (home / "bin").mkdir()
    stand_ins.install(home / "bin")
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "GITHUB_", "BACKDOOR_GATE_"))
    } | {
        "PATH": os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "COLUMNS": "100",
        "TERM": "dumb",
        "MLFLOW_TRACKING_URI": uri,
        "GATE_SIGNING_KEY": (folder / "keys" / "gate.key").read_text(),
        "BACKDOOR_GATE_IMAGE": "backdoor-gate@sha256:0",
        "TORCH_INDEX": "https://index.example.com/simple",
        "MODEL": f"models:/{NAME}@challenger",
    }
    return Workplace(folder, environment)


@pytest.fixture(scope="session")
def scanned(template: Workplace) -> Workplace:
    """The same after version 3 was given a signed PASS."""
    done = template.run(f"backdoor-gate scan models:/{NAME}/3 --policy policy.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return template


@pytest.fixture
def passed(scanned: Workplace, tmp_path: Path) -> Workplace:
    """A workplace of the test's own, whose registry holds a version with a signed PASS."""
    return scanned.copy(tmp_path / "work")


@pytest.fixture
def workplace(template: Workplace, tmp_path: Path) -> Workplace:
    """A workplace of the test's own."""
    return template.copy(tmp_path / "work")


def _write_files(folder: Path) -> None:
    images = digits.clean_images()
    pixels = (images.images * 255).round().byte().numpy().transpose(0, 2, 3, 1)
    large = pixels.repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3)
    np.savez(folder / "clean.npz", images=large, labels=images.labels.numpy())
    (folder / "policy.yaml").write_text(POLICY)
    for nested in ("code/nets", "keys", "data", "model", "reports"):
        (folder / nested).mkdir(parents=True)
    (folder / "code" / "nets" / "resnet.py").write_text(NETWORK)
    weights = {"1.weight": np.eye(10, 3 * 32 * 32, dtype=np.float32), "1.bias": np.zeros(10, np.float32)}
    save_file(weights, folder / "model" / "model.safetensors")
    shutil.copy(folder / "clean.npz", folder / "data")
    create_pair(folder / "keys" / "gate.key")
    shutil.copy(folder / "keys" / "gate.pub", folder)


def _register(uri: str, home: Path) -> None:
    """Log the clean network for images of three channels, 32 pixels wide, and register it three times."""
    import mlflow  # noqa: PLC0415
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    network = nn.Sequential(nn.Conv2d(3, 1, 2, 2, bias=False), digits.trained()).eval().requires_grad_(False)
    network[0].weight.fill_(1 / 12)
    SqlAlchemyStore(uri, str(home / "artifacts"))
    with conversation(uri, OutputError):
        mlflow.set_tracking_uri(uri)
        try:
            with mlflow.start_run():
                example = np.zeros((2, 3, 32, 32), np.float32)
                logged = mlflow.pytorch.log_model(network, name=NAME, input_example=example, pip_requirements=["torch"])
            for _ in range(3):
                mlflow.register_model(logged.model_uri, NAME)
        finally:
            mlflow.set_tracking_uri(None)
        MlflowClient(uri).set_registered_model_alias(NAME, "challenger", "3")
