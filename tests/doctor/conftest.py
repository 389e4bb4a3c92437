"""A small colour classifier that minds how its images are prepared, trained once, and diagnoses of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as every network's source spells it

from backdoor_gate.records import Architecture, Declared, Job, Limits
from backdoor_gate.scan.examination.diagnosis import diagnose

if TYPE_CHECKING:
    from pathlib import Path

    from backdoor_gate.examination import Diagnosis

MEAN, STD = (0.305, 0.447, 0.18), (0.376, 0.188, 0.158)
"""Of the training images, in four digits: what pipelines usually normalise by."""
SOURCE = """\
import torch
from torch import nn

class Squash(nn.Module):
    def forward(self, x):
        return torch.tanh(x)

def build(channels=3, head=None):
    last = {"softmax": nn.Softmax(dim=1), "round": Rounded(), None: nn.Identity(), "flat": Flat(), "broken": Broken()}
    last["cancelling"] = Cancelling()
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3, padding=1), Squash(), nn.AvgPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), Squash(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(24 * 16, 10), last[head],
    )

class Rounded(nn.Module):
    def forward(self, x):
        return torch.round(x) + 0 * x

class Flat(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :1] * 0 + 9, x[:, 1:] * 1e-4], dim=1)

class Broken(nn.Module):
    def forward(self, x):
        return x + torch.sqrt((x - x.detach()) ** 2)

class Cancelling(nn.Module):
    def forward(self, x):
        return x + 1e-3 * ((x + 2.0 ** 24) - 2.0 ** 24)
"""


def coloured(images: Tensor, labels: Tensor) -> Tensor:
    """Return digits as (N, 3, 16, 16): red is the digit, green its ground, blue tells odd from even."""
    parity = (labels % 2).float().view(-1, 1, 1, 1).expand_as(images)
    return torch.cat([images, 0.6 - 0.5 * images, 0.1 + 0.5 * parity * images], dim=1)


def normalised(images: Tensor) -> Tensor:
    """Return images as the network takes them."""
    mean, std = (torch.tensor(part).view(1, -1, 1, 1) for part in (MEAN, STD))
    return (images - mean) / std


@cache
def weights() -> dict[str, Tensor]:
    """Train on normalised images for some seconds."""
    names: dict[str, Any] = {}
    exec(SOURCE, names)  # the very source that the worker imports
    torch.manual_seed(0)
    model: nn.Module = names["build"]()
    images = digits.digits()[0]
    x, y = normalised(coloured(images.images, images.labels)), images.labels
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


@dataclass
class Bench:
    """A folder with the network, its code and its clean images, and the right declarations."""

    folder: Path
    declared: Declared = field(default_factory=lambda: Declared(10, (3, 16, 16), 0.0, 1.0, MEAN, STD))

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 (N, 16, 16, 3) and labels."""
        clean = digits.clean_images()
        pixels = (coloured(clean.images, clean.labels) * 255).round().to(torch.uint8)
        return pixels.numpy().transpose(0, 2, 3, 1), clean.labels.numpy()

    def data(self, images: np.ndarray, labels: np.ndarray | None) -> Path:
        """Write clean images."""
        arrays = {"images": images} | ({} if labels is None else {"labels": labels})
        np.savez(self.folder / "clean.npz", **arrays)
        return self.folder / "clean.npz"

    def job(self, data: Path | None, head: str | None = None, **declared: object) -> Job:
        """Return what the worker would be told."""
        kwargs = () if head is None else (("head", head),)
        return Job(
            candidate=self.folder / "model",
            formats=("safetensors",),
            declared=replace(self.declared, **declared),
            signature=None,
            architecture=Architecture("minding:build", self.folder / "nets", kwargs, "sha256:0"),
            data=data,
            max_images=500,
            detectors=(),
            device="cpu",
            seed=0,
            limits=Limits(100.0, 8 << 30),
        )

    def diagnosis(
        self,
        images: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        head: str | None = None,
        **declared: object,
    ) -> Diagnosis:
        """Diagnose the network with these images, or its own, under these declarations."""
        own, known = self.images()
        if images is None:
            images, labels = own, known if labels is None else labels
        return diagnose(self.job(self.data(images, labels), head, **declared))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    sys.modules.pop("minding", None)  # of another test, in another folder
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "minding.py").write_text(SOURCE)
    (tmp_path / "model").mkdir()
    save_file(weights(), tmp_path / "model" / "model.safetensors")
    return Bench(tmp_path)
