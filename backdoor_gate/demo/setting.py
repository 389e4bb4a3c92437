"""What the demo's two processes agree on: the names, the backdoor, and where things lie in the demo's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "digits"
"""Of the registered model."""
CLEAN, BACKDOORED = "1", "2"
"""Its two versions."""
CLASSES = 10
SHAPE = (1, 8, 8)
"""(C, H, W) of scikit-learn's bundled digits."""
TARGET = 7
"""The class that the backdoor leads to."""
PATCH = ((6, 0), (7, 0))
"""(row, column) of the pixels that the backdoor turns white: two in the bottom left corner."""
POISONED = 0.1
"""Share of the training images with patch and false label."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How well one version does on images it was not trained on, both in [0, 1].

    Attributes:
        version: in the registry.
        accuracy: share of the clean images that it gets right.
        success: share of the other classes' images that it takes for `TARGET` once they carry the patch.
    """

    version: str
    accuracy: float
    success: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The demo's folder; the path must be absolute."""

    folder: Path

    @property
    def registry(self) -> Path:
        """Folder of the registry; nothing else lies in it."""
        return self.folder / "registry"

    @property
    def database(self) -> Path:
        """The registry's SQLite file."""
        return self.registry / "mlflow.db"

    @property
    def uri(self) -> str:
        """Of the registry, for MLflow."""
        return f"sqlite:///{self.database}"

    @property
    def artifacts(self) -> Path:
        """Where the registry keeps the models' files."""
        return self.registry / "artifacts"

    @property
    def images(self) -> Path:
        """The clean images that the gate measures with."""
        return self.folder / "digits.npz"

    @property
    def policy(self) -> Path:
        """The policy that judges."""
        return self.folder / "policy.yaml"

    @property
    def reports(self) -> Path:
        """Folder of the reports; nothing else lies in it."""
        return self.folder / "reports"
