"""What the trials of a diagnosis say: how well the images fit, as labelled and under another order of the classes.

No words here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backdoor_gate.examination import Diagnosis, Preparation

    Flags = NDArray[np.bool_]
    Losses = NDArray[np.float64]
    Classes = NDArray[np.int64]

LEAST_GAIN = 0.05
"""Accuracy that another reading must gain to be worth a word."""

LEAST_SHARE, LEAST_DROP = 0.1, 0.02
"""Share of the mean cross-entropy that it must save, and nats: networks that are nearly always right have little."""

SIGMAS = 3.0
"""Standard errors by which it must be better on the same images."""


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """One preparation, read with one order of the classes.

    Attributes:
        preparation: of the images.
        right: (N,) whether each image is classified as its label says.
        order: model's class by label, where the labels are read in another order; empty where they are taken as they
            are.
        losses: (N,) cross-entropy of each image; empty where the labels are read in another order.
    """

    preparation: Preparation
    right: Flags
    order: dict[int, int]
    losses: Losses

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified as their labels say."""
        return float(self.right.mean()) if len(self.right) else 0.0

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy; None where it is not known."""
        return float(self.losses.mean()) if len(self.losses) else None

    def beats(self, other: Reading) -> bool:
        """Tell whether this one is better on the same images than chance allows.

        It gets more of them right; or no fewer, and fits them clearly better: the class alone hardly moves where a
        network is wrong only in how sure it is.
        """
        if not len(self.right):
            return False
        if not len(other.right):
            return True
        won, lost = int((self.right & ~other.right).sum()), int((other.right & ~self.right).sum())
        gained = won - lost
        more = gained >= LEAST_GAIN * len(self.right) and gained >= SIGMAS * math.sqrt(won + lost)
        return more or (gained >= 0 and self._fits_better(other))

    def _fits_better(self, other: Reading) -> bool:
        if len(self.losses) < 2 or len(self.losses) != len(other.losses):
            return False
        saved = other.losses - self.losses
        error = saved.std(ddof=1) / math.sqrt(len(saved))
        return self._saves(other) and bool(saved.mean() >= SIGMAS * error)

    def _saves(self, other: Reading) -> bool:
        """Tell whether what this one saves of the other's cross-entropy is worth a word."""
        # Of a loss of next to nothing any share is noise, and of a loss of zero nothing is a tenth.
        least = max(LEAST_DROP, LEAST_SHARE * other.losses.mean())
        return bool(other.losses.mean() - self.losses.mean() >= least)

    def equals(self, best: Reading) -> bool:
        """Tell whether this one is about as good as the best of those with losses: it lacks less than is worth a word.

        This is no question of chance: on few images everything would be equal.
        """
        return best.accuracy - self.accuracy < LEAST_GAIN and not best._saves(self)


def plain(diagnosis: Diagnosis) -> tuple[Reading, ...]:
    """Return a reading of every trial with the labels as they are; empty without labels."""
    if diagnosis.labels is None:
        return ()
    labels = np.array(diagnosis.labels, dtype=np.int64)
    return tuple(
        Reading(
            trial.preparation,
            np.array(trial.predicted, dtype=np.int64) == labels[: len(trial.predicted)],
            {},
            np.array(trial.losses, dtype=np.float64),
        )
        for trial in diagnosis.trials
    )


def reordered(diagnosis: Diagnosis) -> tuple[Reading, ...]:
    """Return a reading of every trial with its labels in the order that fits it best.

    The order is found on one half of the images and judged on the other, both ways: on few images some order always
    fits.
    """
    labels = np.array(diagnosis.labels or (), dtype=np.int64)
    readings = []
    for trial in diagnosis.trials:
        predicted = np.array(trial.predicted, dtype=np.int64)
        known = labels[: len(predicted)]
        right = np.zeros(len(predicted), dtype=bool)
        for half in (slice(0, None, 2), slice(1, None, 2)):
            other = slice(1 - (half.start or 0), None, 2)
            order = assigned(known[half], predicted[half])
            right[other] = [
                order.get(label) == found for label, found in zip(known[other], predicted[other], strict=True)
            ]
        readings.append(Reading(trial.preparation, right, assigned(known, predicted), np.empty(0)))
    return tuple(readings)


def assigned(labels: Classes, predicted: Classes) -> dict[int, int]:
    """Return the model's class of each label such that most images agree, no class given twice."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (half a second, and most commands do without)

    rows, row = np.unique(labels, return_inverse=True)
    columns, column = np.unique(predicted, return_inverse=True)
    confusion = np.zeros((len(rows), len(columns)), dtype=np.int64)
    np.add.at(confusion, (row, column), 1)
    pairs = zip(*linear_sum_assignment(confusion, maximize=True), strict=True)
    return {int(rows[a]): int(columns[b]) for a, b in pairs}
