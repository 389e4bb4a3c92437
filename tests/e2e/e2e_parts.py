"""What the end-to-end tests share: the registry with its models, their policy's parts, and how a program ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lxml import etree
from support import digits

from backdoor_gate.errors import OutputError
from backdoor_gate.mlflow_client import conversation

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from mlflow.tracking import MlflowClient
    from numpy.typing import NDArray
    from torch import nn

    Weights = Mapping[str, NDArray[np.float32]]
    Gate = Callable[..., tuple[int, str, str]]
    Start = Callable[..., subprocess.Popen[str]]
    WritePolicy = Callable[..., str]

XSD = Path(__file__).parents[3] / "shared" / "schemas" / "junit-10.xsd"
CLEAN, BADNETS, WEIGHTS = "e2e-clean", "e2e-badnets", "e2e-weights"
"""Registered models: two pt2 networks, and the clean one's weights alone."""

ARCHITECTURE = """\
from torch import nn


def build(classes=10):
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24 * 16, classes),
    )
"""
MODEL = {"num_classes": 10, "input": {"shape": [1, 16, 16]}}
BUILT = {"architecture": "digits_net:build", "architecture_path": "nets"}
"""For an artifact of weights alone."""
QUICK = {"max_margin": {"restarts": 1, "steps": 5}}
"""Detectors where the measurement is not the point."""
LONG = {"max_margin": {"restarts": 64, "steps": 1000}}
"""Detectors that are still busy when something happens to them."""


def clean_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return clean images as a pipeline stores them: (N, 16, 16, 1) uint8, and their labels."""
    images = digits.clean_images()
    pixels = (images.images * 255).round().byte().permute(0, 2, 3, 1)
    return pixels.numpy(), images.labels.numpy()


@dataclass(frozen=True)
class Registry:
    """A registry that holds the models of this folder's tests.

    Attributes:
        uri: of the server.
        client: of it.
        run_id: of the run whose artifacts the weights are.
        folder: for files on their way.
    """

    uri: str
    client: MlflowClient
    run_id: str
    folder: Path

    def log_network(self, name: str, network: nn.Module) -> None:
        """Log a network as MLflow does by default, and register it."""
        import mlflow  # noqa: PLC0415

        with conversation(self.uri, OutputError):
            mlflow.set_tracking_uri(self.uri)
            try:
                with mlflow.start_run(self.run_id):
                    mlflow.pytorch.log_model(
                        network,
                        name=name,
                        input_example=np.zeros((2, 1, 16, 16), np.float32),
                        registered_model_name=name,
                        pip_requirements=["torch"],
                    )
            finally:
                mlflow.set_tracking_uri(None)

    def add_weights(self, name: str, weights: Weights) -> str:
        """Register weights without an MLmodel file, as a new version, and return its reference."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
        from safetensors.numpy import save_file  # noqa: PLC0415

        save_file(dict(weights), self.folder / "model.safetensors")
        with conversation(self.uri, OutputError):
            try:
                count = len(self.client.search_model_versions(f"name = '{name}'"))
                self.client.get_registered_model(name)
            except MlflowException:
                self.client.create_registered_model(name)
            place = f"{name}-{count + 1}"
            self.client.log_artifact(self.run_id, str(self.folder / "model.safetensors"), place)
            source = f"{self.client.get_run(self.run_id).info.artifact_uri}/{place}"
            version = self.client.create_model_version(name, source=source, run_id=self.run_id)
        return f"models:/{name}/{version.version}"

    def tags(self, name: str, version: str = "1") -> dict[str, str]:
        """Return the gate's tags of a version, without their prefix."""
        tags = self.client.get_model_version(name, version).tags
        prefix = "backdoor_gate."
        return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def weights_of(network: nn.Module) -> Weights:
    """Return the state of a network as arrays."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def junit_states(path: Path) -> dict[str, str]:
    """Return the test cases of a JUnit file, each as what became of it; hold it against the schema if there is one."""
    tree = etree.parse(str(path))
    if XSD.is_file():
        etree.XMLSchema(etree.parse(str(XSD))).assertValid(tree)
    ends = {"failure", "error", "skipped"}
    return {
        case.get("name"): next((part.tag for part in case if part.tag in ends), "passed")
        for case in tree.iter("testcase")
    }


def check_plain(text: str) -> None:
    """Fail where a traceback was shown, or a library spoke up."""
    for word in ("Traceback", 'File "', "Warning", "alembic"):
        assert word not in text, text


def ended(process: subprocess.Popen[str], seconds: float = 90) -> tuple[int, str, str]:
    """Wait for a program; return exit code, standard output and standard error."""
    out, err = process.communicate(timeout=seconds)
    check_plain(out + err)
    return process.returncode, out, err
