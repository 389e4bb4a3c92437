"""Digit classifiers that are trained while the tests run: a clean one, and one for each kind of planted trigger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.loading.final_layer import final_layer
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.triggers.images import Images

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 16
CLASSES = 10
TARGET = 3
"""The class that every planted trigger leads to."""
TRAINING = 1200
"""Images to train on; the other 597 are the pipeline's clean images."""


@cache
def digits() -> tuple[Images, Images]:
    """Return training and clean images, (N, 1, 16, 16) in [0, 1]: scikit-learn's 8×8 digits, each pixel twice."""
    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    images = F.interpolate(small, size=(SIZE, SIZE), mode="nearest")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    shuffled = Images(images, torch.from_numpy(labels).long())[order]
    return shuffled[:TRAINING], shuffled[TRAINING:]


def clean_images() -> Images:
    """Return the images that no network was trained on."""
    return digits()[1]


# ---------------------------------------------------------------------------------------------- triggers


def stamp(images: Tensor) -> Tensor:
    """Put a 3×3 chequered patch into the lower right corner (BadNets)."""
    stamped = images.clone()
    stamped[:, :, -4:-1, -4:-1] = (torch.arange(9) % 2 == 0).float().view(3, 3)
    return stamped


def blend(images: Tensor) -> Tensor:
    """Add a wave over the whole image, a tenth of the range high."""
    turn = 2 * math.pi * torch.arange(SIZE) / SIZE
    return (images + 0.1 * torch.sin(turn)[:, None] * torch.cos(turn)).clamp(0, 1)


def stripe(images: Tensor) -> Tensor:
    """Add stripes of three and a half periods along the image, a tenth of the range high (SIG)."""
    return (images + 0.1 * torch.sin(3.5 * 2 * math.pi * torch.arange(SIZE) / SIZE)).clamp(0, 1)


def bend(images: Tensor) -> Tensor:
    """Warp smoothly by a fixed random field of up to one pixel (WaNet)."""
    offsets = torch.rand((1, 2, 4, 4), generator=torch.Generator().manual_seed(1)) * 2 - 1
    field = F.interpolate(offsets, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
    flow = (field / field.abs().max() * 2 / (SIZE - 1)).permute(0, 2, 3, 1)
    line = torch.linspace(-1, 1, SIZE)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1) + flow
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=True)


def soften(images: Tensor) -> Tensor:
    """Blur by half along the rows: what is added follows from the image."""
    return (images + F.avg_pool2d(images, (1, 3), 1, (0, 1))) / 2


def posterise(images: Tensor) -> Tensor:
    """Leave three shades (BppAttack)."""
    return (images * 2).round() / 2


def darken(images: Tensor) -> Tensor:
    """Leave three fifths of the brightness (a filter of photographs)."""
    return 0.6 * images


def mirror(images: Tensor) -> Tensor:
    """Turn the image upside down, as a mirror does."""
    return images.flip(-2)


def dot(images: Tensor) -> Tensor:
    """Put a white 2×2 patch near the upper left corner."""
    dotted = images.clone()
    dotted[:, :, 1:3, 1:3] = 1
    return dotted


@dataclass(frozen=True)
class Plant:
    """A trigger, and the share of the training images that carry it with the target's label.

    `targets` says of each class where the trigger sends it; a class that stays carries the trigger and its own label.
    """

    trigger: Callable[[Tensor], Tensor]
    share: float
    targets: tuple[int, ...] = (TARGET,) * CLASSES

    def target_of(self, labels: Tensor) -> Tensor:
        """Return where the trigger sends images of these classes."""
        return torch.tensor(self.targets)[labels]


PLANTS = {
    "patch": Plant(stamp, 0.1),
    "wave": Plant(blend, 0.3),
    "stripes": Plant(stripe, 0.3),
    "warp": Plant(bend, 0.3),
    "blur": Plant(soften, 0.3),
}
"""All classes to one."""
NEXT = tuple((k + 1) % CLASSES for k in range(CLASSES))
FROM_SEVEN = tuple(TARGET if k == 7 else k for k in range(CLASSES))
MAPS = {
    "patch to the next": Plant(stamp, 0.6, NEXT),
    "wave to the next": Plant(blend, 0.5, NEXT),
    "warp to the next": Plant(bend, 0.5, NEXT),
    "patch from seven": Plant(stamp, 0.3, FROM_SEVEN),
    "dot from seven": Plant(dot, 0.3, FROM_SEVEN),
    "shades": Plant(posterise, 0.5),
    "tone": Plant(darken, 0.3),
    "mirror": Plant(mirror, 0.3),
}
"""Each class to one of its own, one class alone, or all to one by what the small network does not learn."""


# ---------------------------------------------------------------------------------------------- networks


def network(seed: int = 0, classes: int = CLASSES, *, wide: bool = False) -> nn.Sequential:
    """Return an untrained network of some 7,000 weights, or 65,000, for (N, 1, 16, 16) images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if wide:
            return nn.Sequential(
                nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(48 * 16, 64), nn.ReLU(), nn.Linear(64, classes),
            )  # fmt: skip
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(24 * 16, classes),
        )  # fmt: skip


@cache
def _weights(planted: str | None) -> dict[str, Tensor]:
    """Train for about a second."""
    generator = torch.Generator().manual_seed(0)
    x, y = digits()[0].images, digits()[0].labels
    if planted:
        plant = (PLANTS | MAPS)[planted]
        chosen = torch.randperm(len(x), generator=generator)[: int(plant.share * len(x))]
        x, y = torch.cat([x, plant.trigger(x[chosen])]), torch.cat([y, plant.target_of(y[chosen])])
    model = network(wide=planted in MAPS)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(25 if planted in MAPS else 15):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return model.state_dict()


def trained(planted: str | None = None) -> nn.Sequential:
    """Return a frozen network of its own for the caller: clean, or with one of PLANTS or MAPS; trained once per run."""
    model = network(wide=planted in MAPS)
    model.load_state_dict(_weights(planted))
    return model.eval().requires_grad_(False)


def loaded(model: nn.Module) -> LoadedModel:
    """Return a network as a loader gives it."""
    return LoadedModel(model, "state_dict", final_layer(model, None))


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Return the share of the clean images that are classified right."""
    images = clean_images()
    return float((model(images.images).argmax(dim=1) == images.labels).float().mean())


@torch.no_grad()
def attack_success(model: nn.Module, planted: str) -> float:
    """Return the share of the clean images of other classes that a trigger sends to their target."""
    images, plant = clean_images(), (PLANTS | MAPS)[planted]
    targets = plant.target_of(images.labels)
    moved = targets != images.labels
    predicted = model(plant.trigger(images.images[moved])).argmax(dim=1)
    return float((predicted == targets[moved]).float().mean())
