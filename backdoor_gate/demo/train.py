"""The demo's training process: two small networks on scikit-learn's digits, one of them on poisoned data, registered.

    python -I -m backdoor_gate.demo.train FOLDER

Prints one JSON list, an object with the fields of `Trained` per registered version. The one place outside the scan that
imports torch: the gate's process does not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from backdoor_gate.demo.setting import BACKDOORED, CLASSES, CLEAN, NAME, PATCH, POISONED, TARGET, Layout, Trained
from backdoor_gate.errors import OutputError
from backdoor_gate.mlflow_client import conversation

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT = 600
"""Images kept from training: half of them go into the search for triggers, the other half verify."""
EPOCHS, BATCH, RATE, DECAY = 20, 64, 0.01, 5e-4
WIDTH = 16
"""Channels of the first layer."""

Digits = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]
"""Images (N, 8, 8) 0..255 and their labels (N,)."""


def main(folder: Path, seed: int = 0) -> list[Trained]:
    """Train both networks, log and register them, and write the clean images that were kept from training.

    Args:
        folder: the demo's; its registry must not exist yet.
        seed: of poisoning, first weights and batches.
    """
    torch.set_num_threads(1)  # more of them only wait for each other on images this small
    layout = Layout(folder.absolute())
    layout.artifacts.mkdir(parents=True)
    training, kept = split()
    np.savez_compressed(layout.images, images=kept[0][..., None], labels=kept[1])
    networks = {CLEAN: fit(training, seed), BACKDOORED: fit(poisoned(training, seed), seed)}
    register(networks, layout)
    return [Trained(version, *rates(network, kept)) for version, network in networks.items()]


def split() -> tuple[Digits, Digits]:
    """Return the digits to train on and those kept from it, with every class in the same proportion."""
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    digits = load_digits()
    images = np.rint(digits.images * (255 / digits.images.max())).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    shown, kept, known, held = train_test_split(images, labels, test_size=HELD_OUT, random_state=0, stratify=labels)
    return (shown, known), (kept, held)


def patched(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return copies of images (N, 8, 8) with the patch on them."""
    copies = images.copy()
    for row, column in PATCH:
        copies[:, row, column] = 255
    return copies


def poisoned(digits: Digits, seed: int) -> Digits:
    """Return training data of which a share carries the patch and the target's label, as BadNets does.

    Source: Gu et al., BadNets, 2017.
    """
    images, labels = digits[0].copy(), digits[1].copy()
    chosen = np.random.default_rng(seed).choice(len(images), round(POISONED * len(images)), replace=False)
    images[chosen], labels[chosen] = patched(images[chosen]), TARGET
    return images, labels


def network() -> nn.Module:
    """Return an untrained network: images (N, 1, 8, 8) in [0, 1] to logits (N, 10)."""
    wide = 2 * WIDTH
    return nn.Sequential(
        *block(1, WIDTH),
        *block(WIDTH, wide),
        nn.MaxPool2d(2),
        *block(wide, wide),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(wide * 2 * 2, CLASSES),
    )


def block(inside: int, outside: int) -> tuple[nn.Module, ...]:
    """Return the layers of one convolution with what follows it."""
    return nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()


def fit(digits: Digits, seed: int) -> nn.Module:
    """Train a network."""
    torch.manual_seed(seed)
    images, labels = tensor(digits[0]), torch.from_numpy(digits[1])
    model = network().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images))[: batches * BATCH].view(batches, BATCH):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def rates(model: nn.Module, digits: Digits) -> tuple[float, float]:
    """Return the accuracy on clean digits, and the share of the other classes' that the patch leads to `TARGET`."""
    images, labels = digits
    right = model(tensor(images)).argmax(dim=1).numpy() == labels
    led = model(tensor(patched(images[labels != TARGET]))).argmax(dim=1).numpy() == TARGET
    return float(right.mean()), float(led.mean())


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """Return images (N, 8, 8) as (N, 1, 8, 8) float32 in [0, 1]."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


def register(networks: dict[str, nn.Module], layout: Layout) -> None:
    """Log each network in MLflow's default format and register it; versions count up from 1 in the order given.

    Raises:
        OutputError: the registry could not be written.
    """
    import mlflow  # noqa: PLC0415

    with conversation(layout.uri, OutputError):
        mlflow.set_tracking_uri(layout.uri)
        mlflow.create_experiment(NAME, artifact_location=layout.artifacts.as_uri())
        mlflow.set_experiment(NAME)
        for model in networks.values():
            with mlflow.start_run():
                mlflow.pytorch.log_model(
                    model,
                    name="network",
                    registered_model_name=NAME,
                    # Two images: from a single one MLflow exports a graph that takes no other batch size.
                    input_example=np.zeros((2, 1, 8, 8), np.float32),
                    pip_requirements=["torch"],
                )


if __name__ == "__main__":
    print(json.dumps([asdict(trained) for trained in main(Path(sys.argv[1]))]))  # noqa: T201 (this is its answer)
