"""The Adversarial Robustness Toolbox's methods that run on PyTorch, at their defaults.

None of them judges a model: activation clustering and spectral signatures sort a training set, STRIP sorts inputs as
they come. Each gets what it is made for, an eighth of that set or those inputs being the attacker's, and is told by the
share of poison that it finds and of clean samples that it takes for poison.

Run by an interpreter that has the toolbox; it needs PyTorch and the zoo, not the gate's own dependencies.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.defences.detector.poison import ActivationDefence, SpectralSignatureDefense
from art.defences.transformer.poisoning import STRIP
from art.estimators.classification import PyTorchClassifier
from torch import nn

from benchmarks.peer_methods.common import IMAGES, Meter, Problem, problem, tell
from benchmarks.zoo.triggers import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

SHARE = 8
"""One sample in so many is poisoned."""

Sorted = tuple[np.ndarray, np.ndarray]
"""Which samples are taken for poison, and which are."""


def poisoned(given: Problem, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, labels as an attacker's training set has them, and which images are the attacker's."""
    images, labels = given.samples.images.clone(), given.samples.labels.clone()
    attack = given.attacks[0]
    moved = (attack.relabel(labels) != labels).nonzero()[:, 0][: len(labels) // SHARE]
    images[moved] = attack.apply(images[moved], seeded(seed))
    labels[moved] = attack.relabel(labels[moved])
    planted = np.zeros(len(labels), dtype=bool)
    planted[moved.numpy()] = True
    return images.numpy(), labels.numpy(), planted


def activation_clustering(classifier: PyTorchClassifier, given: Problem, seed: int) -> Sorted:
    """Sort a training set by two clusters of activations in each class."""
    images, labels, planted = poisoned(given, seed)
    _, is_clean = ActivationDefence(classifier, images, labels).detect_poison(nb_clusters=2, nb_dims=10, reduce="PCA")
    return np.array(is_clean) == 0, planted


def spectral_signatures(classifier: PyTorchClassifier, given: Problem, seed: int) -> Sorted:
    """Sort a training set by each sample's share in its class's first singular vector."""
    images, labels, planted = poisoned(given, seed)
    one_hot = np.eye(given.meta["num_classes"])[labels]
    _, is_clean = SpectralSignatureDefense(classifier, images, one_hot).detect_poison()
    return np.array(is_clean) == 0, planted


def strip(classifier: PyTorchClassifier, given: Problem, seed: int) -> Sorted:
    """Sort inputs by how sure the network stays when others are laid over them."""
    images, _, planted = poisoned(given, seed)
    half = len(images) // 2
    guard = STRIP(classifier)(num_samples=20, false_acceptance_rate=0.01)
    guard.mitigate(given.samples.images[:half].numpy())
    kept = guard.predict(images)
    return ~kept.any(axis=1), planted  # it answers with zeros where it abstains


METHODS: dict[str, Callable[[PyTorchClassifier, Problem, int], Sorted]] = {
    "activation_clustering": activation_clustering,
    "spectral_signatures": spectral_signatures,
    "strip": strip,
}


def main(folder: Path, name: str, count: int, seed: int) -> None:
    """Run one method on `count` images."""
    given = problem(folder, count or IMAGES)
    torch.manual_seed(seed)
    np.random.seed(seed)
    classifier = PyTorchClassifier(
        model=nn.Sequential(given.network, nn.Softmax(dim=1))
        if name == "strip"
        else given.network,  # it takes logarithms
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(given.meta["input_shape"]),
        nb_classes=given.meta["num_classes"],
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    meter = Meter()
    flagged, planted = METHODS[name](classifier, given, seed)
    result: dict[str, Any] = {"passes": given.network.passes} | meter.read()
    result["verdict"] = "sorts samples, judges no model"
    result["poison_found"] = round(float(flagged[planted].mean()), 3)
    result["clean_taken_for_poison"] = round(float(flagged[~planted].mean()), 3)
    tell(result | {"images": len(planted), "poisoned": int(planted.sum())})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
