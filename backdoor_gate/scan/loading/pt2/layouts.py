"""Where in a tensor the images of a batch are: along which axis, and how often they are repeated there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

TOLERANCE = 1e-3
"""Difference, as a share of the values' range, that the order of additions may make."""


@dataclass(frozen=True, slots=True)
class Place:
    """The images' axis; of several axes that were merged into it, those before the images' have `outer` positions."""

    axis: int
    outer: int = 1


def joined(parts: Sequence[Tensor], place: Place) -> Tensor:
    """Return the tensor of a batch, new memory, from the tensors of its images, all of one shape."""
    axis, sizes = place.axis, parts[0].shape
    apart = (*sizes[:axis], place.outer, sizes[axis] // place.outer, *sizes[axis + 1 :])
    return torch.cat([part.reshape(apart) for part in parts], axis + 1).flatten(axis, axis + 1)


def place_of(alone: Sequence[Tensor], together: Sequence[Tensor]) -> Place | None:
    """Return where the images are in what came out for several; None where it is not what came out for each.

    Args:
        alone: for each image by itself.
        together: for the first two, the first three and so on.
    """
    if any(one.shape != alone[0].shape for one in alone):
        return None
    for place in _places(alone[0], together[0]):
        if all(_same(found, joined(alone[:count], place)) for count, found in enumerate(together, 2)):
            return place
    return None


def _places(one: Tensor, two: Tensor) -> Iterator[Place]:
    """Yield where two images can be by the shapes, the simplest first."""
    if one.dim() != two.dim():
        return
    for axis, size in enumerate(one.shape):
        expected = (*one.shape[:axis], 2 * size, *one.shape[axis + 1 :])
        if size and two.shape == expected:
            yield from (Place(axis, outer) for outer in range(1, size + 1) if size % outer == 0)


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point():
        return torch.equal(found, expected)
    known = expected[expected.isfinite()]
    extent = float(known.max() - known.min()) if len(known) else 0.0
    return torch.allclose(found, expected, rtol=0.0, atol=TOLERANCE * extent, equal_nan=True)
