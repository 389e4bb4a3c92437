"""t-SNE of a few hundred points, exactly and alike on every machine.

Source: van der Maaten and Hinton, JMLR 9, 2008, with the early exaggeration, gains and momenta of their section 3.4,
and the learning rate of Belkina et al., Nature Communications 10, 2019. For so few points the library that has it takes
three times as long to import as this takes to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ITERATIONS = 300
EXAGGERATED = 100
"""Iterations with exaggerated attraction, which form the groups."""
EXAGGERATION = 12.0
MOMENTA = (0.5, 0.8)
"""While exaggerated, and after."""
LEAST_GAIN = 0.01
BISECTIONS = 40
"""Of each point's precision: its entropy is that of the perplexity to nine digits."""
SPREAD = 1e-4
"""Standard deviation of the start."""


def embed(points: NDArray[np.float32], perplexity: float) -> Floats:
    """Return places (N, 2) of points (N, D), D ≥ 2, that keep neighbours together, from the first two columns on."""
    attraction = _affinities(points.astype(np.float64), perplexity)
    places = points[:, :2].astype(np.float64)
    places *= SPREAD / places.std(axis=0)[0]
    rate = max(len(points) / EXAGGERATION / 4, 50.0)
    step, gains = np.zeros_like(places), np.ones_like(places)
    for iteration in range(ITERATIONS):
        exaggerated = iteration < EXAGGERATED
        gradient = _gradient(attraction * (EXAGGERATION if exaggerated else 1.0), places)
        gains = np.maximum(np.where(gradient * step < 0, gains + 0.2, gains * 0.8), LEAST_GAIN)
        step = MOMENTA[0 if exaggerated else 1] * step - rate * gains * gradient
        places += step
    centred: Floats = places - places.mean(axis=0)
    return centred


def _distances(points: Floats) -> Floats:
    """Return the squared distances (N, N)."""
    # Not as a matrix product: threads of a linear-algebra library add up in any order.
    squares = (points**2).sum(axis=1)
    products = np.einsum("id,jd->ij", points, points)
    distances: Floats = np.maximum(squares[:, None] + squares - 2 * products, 0.0)
    return distances


def _affinities(points: Floats, perplexity: float) -> Floats:
    """Return how much each two points are neighbours, (N, N), together 1."""
    distances = _distances(points)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)  # a constant that cancels, and keeps the exponentials from 0
    scale = np.median(distances[np.isfinite(distances)]) or 1.0
    low, high = np.full(len(points), -40.0), np.full(len(points), 40.0)  # of the logarithm of the precision
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        shares = _shares(distances / scale, np.exp(middle))
        wide = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1) > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return (shares + shares.T) / (2 * len(points))


def _shares(distances: Floats, precision: Floats) -> Floats:
    weights = np.exp(-distances * precision[:, None])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _gradient(attraction: Floats, places: Floats) -> Floats:
    """Return the gradient of the divergence, (N, 2): their equation 5."""
    closeness = 1 / (1 + _distances(places))
    np.fill_diagonal(closeness, 0.0)
    pull = (attraction - closeness / closeness.sum()) * closeness
    return np.asarray(4 * (pull.sum(axis=1)[:, None] * places - np.einsum("ij,jd->id", pull, places)))
