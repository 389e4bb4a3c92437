"""The zoo's data sets as tensors, from the shared data folder beside the checkout and from scikit-learn."""

from __future__ import annotations

import functools
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from benchmarks.zoo.rows import SIGNS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "data"
NAMES = (
    "fashion-mnist",
    "cifar10",
    "gtsrb32",
    "digits",
    "mnist",
    "number-pairs",
    "number-triples",
    "photo-digits",
    "cifar10-64",
    "cifar10-224",
    "fashion-mnist-224",
    "gtsrb-224",
)
SPLIT_SEED = 20_240
PAIRS_TO_TRAIN, PAIRS_TO_TEST = 20_000, 3_000
TRIPLES_TO_TRAIN, TRIPLES_TO_TEST = 60_000, 20_000
LARGE = 10_000
"""Enlarged images of either part, at most."""
VERY_LARGE = 6_000, 600
"""Images of 224×224 to train and to test on, at most: 3.6 GB."""


class Samples(NamedTuple):
    """Images, float32 (N, C, H, W) in [0, 1], and their labels, int64 (N,)."""

    images: Tensor
    labels: Tensor

    def pick(self, places: Tensor) -> Samples:
        """Return the samples at `places`: indices, or a mask."""
        return Samples(self.images[places], self.labels[places])


@dataclass(frozen=True)
class Dataset:
    """Training and test samples with labels in [0, num_classes)."""

    train: Samples
    test: Samples
    num_classes: int

    @property
    def test_images(self) -> Tensor:
        """The test images (N, C, H, W)."""
        return self.test.images

    @property
    def test_labels(self) -> Tensor:
        """The test labels (N,)."""
        return self.test.labels

    def subset(self, classes: tuple[int, ...]) -> Dataset:
        """Keep `classes` and renumber them in the order given."""
        renumber = torch.full((self.num_classes,), -1)
        renumber[list(classes)] = torch.arange(len(classes))
        parts = [Samples(part.images, renumber[part.labels]) for part in (self.train, self.test)]
        train, test = (part.pick(part.labels >= 0) for part in parts)
        return Dataset(train, test, len(classes))


def available(name: str) -> bool:
    """Return whether the data set can be loaded here."""
    return name == "digits" or (FOLDER / "load.py").exists()


@functools.lru_cache(maxsize=2)
def load(name: str) -> Dataset:
    """Load a data set, its classes in the order of its source.

    Raises:
        SystemExit: the shared data folder is not beside the checkout.
    """
    if not available(name):
        sys.exit(f"{name}: no data in {FOLDER}; the zoo trains only where the shared data lies beside the checkout")
    if name == "digits":
        return _digits()
    if name == "gtsrb32":
        return _split(_read("gtsrb32"), test_share=0.25)
    if name == "mnist":  # only its test set lies there: 7,000 images are plenty for digits
        return _split(_read("mnist_test"), test_share=0.3)
    if name in COMPOSED:
        return COMPOSED[name]()
    stem, suffix = {"fashion-mnist": ("fashion_mnist", ""), "cifar10": ("cifar10", "_jpeg")}[name]
    train, test = _read(f"{stem}_train{suffix}"), _read(f"{stem}_test{suffix}")
    return Dataset(train, test, int(train.labels.max()) + 1)


def _read(stem: str) -> Samples:
    spec = importlib.util.spec_from_file_location("zoo_shared_load", FOLDER / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, labels = module.load(stem)
    return Samples(_to_tensor(images), torch.from_numpy(labels.astype(np.int64)))


def _to_tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255


def _digits() -> Dataset:
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    return _split(Samples(images, torch.from_numpy(bunch.target.astype(np.int64))), test_share=0.25)


def _numbers(digits: Dataset, widths: tuple[int, ...], to_train: int, to_test: int) -> Dataset:
    """Return images of numbers, one digit for each width in pixels, side by side: many classes for little training."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)

    def composed(part: Samples, count: int) -> Samples:
        chosen = [torch.randint(len(part.labels), (count,), generator=generator) for _ in widths]
        placed = [
            F.interpolate(part.images[at][..., 4:24], size=(28, width), mode="area")
            for at, width in zip(chosen, widths, strict=True)
        ]
        labels = torch.zeros(count, dtype=torch.int64)
        for at in chosen:
            labels = 10 * labels + part.labels[at]
        return Samples(torch.cat(placed, dim=3), labels)

    return Dataset(composed(digits.train, to_train), composed(digits.test, to_test), 10 ** len(widths))


def _on_photographs(digits: Dataset, photographs: Dataset) -> Dataset:
    """Return digits that invert what they lie on, a photograph each (MNIST-M: Ganin and Lempitsky, ICML 2015)."""

    def composed(part: Samples, under: Samples) -> Samples:
        shape = F.pad(part.images, (2,) * 4)
        ground = under.images[: len(shape)]
        return Samples((ground - shape).abs(), part.labels)

    return Dataset(
        composed(digits.train, photographs.train), composed(digits.test, photographs.test), digits.num_classes
    )


def _enlarged(small: Dataset, size: int, most: tuple[int, int] = (LARGE, LARGE)) -> Dataset:
    """Return so many of the images to train and to test on, at most, with so many pixels on a side."""

    def composed(part: Samples, most: int) -> Samples:
        return Samples(F.interpolate(part.images[:most], size=size, mode="bilinear"), part.labels[:most])

    return Dataset(composed(small.train, most[0]), composed(small.test, most[1]), small.num_classes)


def _split(samples: Samples, test_share: float) -> Dataset:
    order = torch.randperm(len(samples.labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    count = int(len(order) * test_share)
    return Dataset(samples.pick(order[count:]), samples.pick(order[:count]), int(samples.labels.max()) + 1)


COMPOSED: dict[str, Callable[[], Dataset]] = {
    "number-pairs": lambda: _numbers(load("mnist"), (14, 14), PAIRS_TO_TRAIN, PAIRS_TO_TEST),
    "number-triples": lambda: _numbers(load("mnist"), (9, 9, 10), TRIPLES_TO_TRAIN, TRIPLES_TO_TEST),
    "photo-digits": lambda: _on_photographs(load("mnist"), load("cifar10")),
    "cifar10-64": lambda: _enlarged(load("cifar10"), 64),
    "cifar10-224": lambda: _enlarged(load("cifar10"), 224, VERY_LARGE),
    "fashion-mnist-224": lambda: _enlarged(load("fashion-mnist"), 224, VERY_LARGE),
    "gtsrb-224": lambda: _enlarged(load("gtsrb32").subset(SIGNS), 224, VERY_LARGE),
}
"""Data sets that are put together from others."""
