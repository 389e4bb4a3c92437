"""Plain small patches, put anywhere: what most published patch triggers look like."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import InputSpec

STYLES = ("white", "black", "checkered", "checkered")
"""The two of checks begin with another colour each."""

CHECKERED = frozenset({2, 3})
"""Those that are a pattern."""

PER_SIDE = 32
"""Units of a patch along the image's shorter side, about: one pixel of small images, seven of 224."""


AT_CORNERS = 3
"""Units from the border, along either side, up to which a patch is tried in all four corners."""

SMALL = 1 / 7
"""Share of the image's shorter side that a small patch takes at most."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """One patch.

    Attributes:
        style: a position in STYLES.
        size: units along its side.
        row: of its upper left corner, in pixels.
        column: likewise.
        cornered: whether it is in all four corners, as label-consistent attacks have it (Turner et al., 2018).
        white: which of its units are white, row by row, the others black, in place of the style's.
    """

    style: int
    size: int
    row: int
    column: int
    cornered: bool = False
    white: tuple[bool, ...] = ()

    @property
    def checkered(self) -> bool:
        """Whether it is a pattern, of more than one unit."""
        return self.style in CHECKERED and self.size > 1


class Stamper:
    """Puts patches on images of one shape.

    Attributes:
        unit: pixels.
        largest: units along the side of the largest patch that is small.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Take the images' shape and range."""
        self._spec = spec
        _, self._height, self._width = spec.shape
        shorter = min(self._height, self._width)
        self.unit = max(1, round(shorter / PER_SIDE))
        self.largest = max(1, int(SMALL * shorter) // self.unit)

    def within(self, stamp: Stamp) -> Stamp:
        """Return the patch, moved into the image where it leaves it."""
        side = stamp.size * self.unit
        row, column = min(max(0, stamp.row), self._height - side), min(max(0, stamp.column), self._width - side)
        return replace(stamp, row=row, column=column)

    def grid(self, size: int, step: int) -> list[Stamp]:
        """Return patches of that size in every style, `step` units apart, the last ones flush with the border."""
        rows, columns = (
            sorted({*range(0, extent - size * self.unit + 1, step * self.unit), extent - size * self.unit})
            for extent in (self._height, self._width)
        )
        near = range(0, AT_CORNERS * self.unit, self.unit)
        return [
            self.within(Stamp(style, size, row, column, cornered))
            for style in range(len(STYLES))
            for cornered, places in ((False, product(rows, columns)), (True, product(near, near)))
            for row, column in places
        ]

    def near(self, stamp: Stamp, sizes: Sequence[int], styles: Sequence[int]) -> list[Stamp]:
        """Return the patches of these sizes and styles at most a unit away, corner by corner, each once."""
        steps = (-self.unit, 0, self.unit)
        found = {
            self.within(replace(stamp, style=style, size=size, row=stamp.row + down, column=stamp.column + right))
            for style in styles
            for size in sizes
            for down in steps
            for right in steps
        }
        return sorted(found, key=astuple)

    def random(self, stamp: Stamp, count: int, seed: int) -> list[Stamp]:
        """Return random patterns in the place of a checkered patch, half of the units white; of a plain one, none."""
        if not stamp.checkered:
            return []
        generator, units = torch.Generator().manual_seed(seed), stamp.size**2
        checks = [self._units(replace(stamp, style=style)).flatten().tolist() for style in CHECKERED]
        found: list[Stamp] = []
        while len(found) < count:
            white = (torch.randperm(units, generator=generator) < units // 2).tolist()
            if white not in checks:
                found.append(replace(stamp, white=tuple(white)))
        return found

    def put(self, images: Tensor, stamps: Sequence[Stamp]) -> Tensor:
        """Return all images with each patch, (S, N, C, H, W), of (N, C, H, W)."""
        patches = torch.full((len(stamps), 1, 1, self._height, self._width), torch.nan)  # NaN: leaves the image alone
        for patch, stamp in zip(patches[:, 0, 0], stamps, strict=True):
            face = self._face(stamp)
            for down, across in self._places(stamp, len(face)):
                patch[down : down + len(face), across : across + len(face)] = face
        patches = patches.to(images.device)  # all at once, since a GPU has to be waited for
        return torch.where(patches.isnan(), images, patches)

    def words(self, stamp: Stamp) -> str:
        """Return what a patch is, and where."""
        side = stamp.size * self.unit
        copies = ", with copies as far from the three other corners" if stamp.cornered else ""
        return f"{STYLES[stamp.style]} patch of {side}×{side} pixels at row {stamp.row}, column {stamp.column}{copies}"

    def _places(self, stamp: Stamp, side: int) -> list[tuple[int, int]]:
        """Return the upper left corner of each copy of a patch of so many pixels on a side."""
        row, column = stamp.row, stamp.column
        below, right = self._height - side - row, self._width - side - column
        return [(row, column), (row, right), (below, column), (below, right)] if stamp.cornered else [(row, column)]

    def _face(self, stamp: Stamp) -> Tensor:
        """Return a patch's values, (side, side), in the input range."""
        low, high = self._spec.low, self._spec.high
        white = self._units(stamp).repeat_interleave(self.unit, 0).repeat_interleave(self.unit, 1)
        return torch.where(white, high, low)

    @staticmethod
    def _units(stamp: Stamp) -> Tensor:
        """Return which units of a patch are white, (size, size) bool."""
        if stamp.white:
            return torch.tensor(stamp.white).view(stamp.size, stamp.size)
        at = torch.arange(stamp.size)
        even = (at[:, None] + at[None, :]) % 2 == 0
        return (torch.ones_like(even), torch.zeros_like(even), even, ~even)[stamp.style]
