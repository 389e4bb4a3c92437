"""The usual ways in which pipelines prepare images, to hold a policy's own against.

Each is written as the policy would have to say it: a range, and a normalisation after it. Stored bytes are brought to
the range, stored floats are taken as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backdoor_gate.examination import Preparation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    Channels = tuple[float, ...]

RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))

COLOUR = (
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
)
"""Mean and standard deviation that networks for colour images are trained with: ImageNet's, CIFAR-10's."""

GREY = (((0.1307,), (0.3081,)), ((0.286,), (0.353,)))
"""The same for grey images: MNIST's, Fashion-MNIST's."""

_SLACK = 0.02
"""By how much of the range images may leave it that have been normalised and rounded."""


def prepared(images: Tensor, way: Preparation, *, whole_numbers: bool) -> Tensor:
    """Return stored images (N, C, H, W) as a preparation has them before its normalisation.

    Args:
        images: float32, as stored.
        way: how to prepare them.
        whole_numbers: whether they were stored as uint8.
    """
    images = images.flip(1) if way.reversed else images
    return way.low + images / 255 * (way.high - way.low) if whole_numbers else images


def usual(images: Tensor, present: Preparation, *, whole_numbers: bool) -> list[Preparation]:
    """Return the preparations to try besides the present one, the channels in their own order first.

    Args:
        images: (N, C, H, W) float32, as stored.
        present: what a scan does.
        whole_numbers: whether they were stored as uint8.
    """
    found: list[Preparation] = []
    channels = images.shape[1]
    for way in _candidates(images, present, whole_numbers=whole_numbers):
        effects = [_effect(known, channels, whole_numbers=whole_numbers) for known in (present, *found)]
        if not any(_close(_effect(way, channels, whole_numbers=whole_numbers), effect) for effect in effects):
            found.append(way)
    backwards = [replace(way, reversed=True) for way in (present, *found)] if channels > 1 else []
    return [*found, *backwards]


@dataclass(frozen=True, slots=True)
class _Storage:
    """How images are stored: the policy's range for them, and per channel what stands for 0 and for the way to 1."""

    low: float
    high: float
    zero: Channels
    span: Channels


def _candidates(images: Tensor, present: Preparation, *, whole_numbers: bool) -> Iterator[Preparation]:
    """Yield the usual ranges, with the present normalisation and without, then the usual normalisations."""
    storage = _storage(images, whole_numbers=whole_numbers)
    if not whole_numbers:
        yield Preparation(storage.low, storage.high)
    for low, high in RANGES:
        for mean, std in ((None, None), (present.mean, present.std)):
            way = Preparation(low, high, mean, std)
            yield way if whole_numbers else _for_floats(way, storage)
    zero, span = (images.new_tensor(part).view(1, -1, 1, 1) for part in (storage.zero, storage.span))
    for mean, std in _normalisations((images / 255 if whole_numbers else images - zero) / span):
        way = Preparation(0.0, 1.0, _rounded(mean), _rounded(std))
        yield way if whole_numbers else _for_floats(way, storage)


def _for_floats(way: Preparation, storage: _Storage) -> Preparation:
    """Return what has the same effect on floats, which no range scales: its normalisation does all of it."""
    channels = len(storage.zero)
    mean, std = way.mean or (0.0,) * channels, way.std or (1.0,) * channels
    steps = tuple((way.high - way.low) / span for span in storage.span)
    shift = tuple(z + (m - way.low) / k for z, m, k in zip(storage.zero, mean, steps, strict=True))
    scale = tuple(s / k for s, k in zip(std, steps, strict=True))
    if set(shift) == {0.0} and set(scale) == {1.0}:
        return Preparation(storage.low, storage.high)
    return Preparation(storage.low, storage.high, _rounded(shift), _rounded(scale))


def _storage(images: Tensor, *, whole_numbers: bool) -> _Storage:
    """Recognise the convention that stored values follow."""
    channels = images.shape[1]
    lowest, highest = float(images.min()), float(images.max())
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    if whole_numbers or (lowest >= 0 and highest <= 1):
        return _Storage(0.0, 1.0, zeros, ones)
    if lowest >= 0 and highest <= 255:
        return _Storage(0.0, 255.0, zeros, (255.0,) * channels)
    if lowest >= -1 and highest <= 1:
        return _Storage(-1.0, 1.0, (-1.0,) * channels, (2.0,) * channels)
    low = float(math.floor(lowest))
    high = max(float(math.ceil(highest)), low + 1.0)  # of images that are all alike, too
    for mean, std in _common(channels):
        middle, width = (images.new_tensor(part).view(1, -1, 1, 1) for part in (mean, std))
        unit = images * width + middle
        if float(unit.min()) > -_SLACK and float(unit.max()) < 1 + _SLACK:
            return _Storage(low, high, tuple(-m / s for m, s in zip(mean, std, strict=True)), tuple(1 / s for s in std))
    return _Storage(low, high, (low,) * channels, (high - low,) * channels)


def _normalisations(unit: Tensor) -> Iterator[tuple[Channels, Channels]]:
    """Yield mean and standard deviation, for images in [0, 1]."""
    channels = unit.shape[1]
    deviation = unit.std(dim=(0, 2, 3), correction=0)
    if float(deviation.min()) > 0:
        yield tuple(unit.mean(dim=(0, 2, 3)).tolist()), tuple(deviation.tolist())
    yield from _common(channels)


def _common(channels: int) -> tuple[tuple[Channels, Channels], ...]:
    return {1: GREY, 3: COLOUR}.get(channels, ())


def _rounded(values: Channels) -> Channels:
    return tuple(float(f"{value:.4g}") for value in values)


def _effect(way: Preparation, channels: int, *, whole_numbers: bool) -> tuple[Channels, Channels]:
    """Return, per channel, the network's input for stored values 0 and 1."""
    mean, std = way.mean or (0.0,) * channels, way.std or (1.0,) * channels
    start, step = (way.low, (way.high - way.low) / 255) if whole_numbers else (0.0, 1.0)
    offsets = tuple((start - m) / s for m, s in zip(mean, std, strict=True))
    return offsets, tuple(step / s for s in std)


def _close(one: tuple[Channels, Channels], other: tuple[Channels, Channels]) -> bool:
    pairs = zip((*one[0], *one[1]), (*other[0], *other[1]), strict=True)
    return all(math.isclose(a, b, rel_tol=1e-2, abs_tol=1e-6) for a, b in pairs)
