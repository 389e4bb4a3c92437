"""A picture in a terminal: half-block characters in 24-bit colour, or an ASCII ramp where there is no colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from backdoor_gate.reports.figures import reduced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from rich.console import Console, ConsoleOptions, RenderResult

COLUMNS = 32
"""Characters across, at most; small pictures are enlarged by a whole factor to come near it."""
_GAP = 2
_RAMP = np.array(list(" .,-+=*oO#@"))
"""From black to white. No colon, for two at the start of a line are a command to some build logs."""


class TerminalPicture:
    """Renders pixels as rich does text: colours are reduced to what the console can show.

    Args:
        pixels: (H, W) grey or (H, W, 3) colour, uint8.
        columns: greatest width in characters.
    """

    def __init__(self, pixels: NDArray[np.uint8], columns: int = COLUMNS) -> None:
        self._pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)  # (H, W, 3)
        self._columns = columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the picture's segments, no wider than the space there is."""
        plain = console.color_system is None or console.no_color or options.ascii_only or options.legacy_windows
        pixels = _resized(self._pixels, max(1, min(self._columns, options.max_width)))
        yield from _ramp(pixels) if plain else _half_blocks(pixels)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the width it will take."""
        width = _resized(self._pixels, max(1, min(self._columns, options.max_width))).shape[1]
        return Measurement(width, width)


class PictureRow:
    """Pictures side by side with a title below each: all that fit the width, those first that are named first.

    Args:
        tiles: (title, pixels) by importance.
        shown: titles in the order from left to right.
    """

    def __init__(self, tiles: Sequence[tuple[str, NDArray[np.uint8]]], shown: Sequence[str]) -> None:
        self._tiles = tiles
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the pictures in one row, each at its full size."""
        fitting = max(1, (options.max_width + _GAP) // (COLUMNS + _GAP))
        tiles = dict(self._tiles[:fitting])
        titles = [title for title in self._shown if title in tiles]
        grid = Table.grid(padding=(0, _GAP))
        for _ in titles:
            grid.add_column(overflow="fold")
        grid.add_row(*(TerminalPicture(tiles[title]) for title in titles))
        grid.add_row(*(Text(title, "dim") for title in titles))
        yield grid


def _resized(pixels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Return the pixels enlarged or reduced by a whole factor, neither side above `columns`."""
    small = reduced(pixels, columns)
    factor = columns // max(small.shape[:2])
    return small.repeat(factor, axis=0).repeat(factor, axis=1)


def _half_blocks(pixels: NDArray[np.uint8]) -> Iterator[Segment]:
    """Yield two rows of pixels per line: the upper is the character's colour, the lower its background."""
    for upper in range(0, len(pixels), 2):
        rows = pixels[upper : upper + 2].tolist()
        for column, (red, green, blue) in enumerate(rows[0]):
            below = f"rgb({','.join(str(value) for value in rows[1][column])})" if len(rows) > 1 else None
            yield Segment("▀", Style(color=f"rgb({red},{green},{blue})", bgcolor=below))
        yield Segment.line()


def _ramp(pixels: NDArray[np.uint8]) -> Iterator[Segment]:
    """Yield one character per two rows, which keeps the picture's proportions."""
    grey = pixels[::2].mean(axis=2)  # (H / 2, W)
    for line in _RAMP[(grey / 255 * (len(_RAMP) - 1)).round().astype(int)]:
        yield Segment("".join(line))
        yield Segment.line()
