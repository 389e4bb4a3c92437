"""All pairs as a map of source by target: the stronger the colour, the smaller the share of the usual strength."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from backdoor_gate.reports.drawing import Plot, canvas, svg
from backdoor_gate.reports.rows import Way, class_list, suspects
from backdoor_gate.reports.svg import COLOURS
from backdoor_gate.reports.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from backdoor_gate.records import DetectorResult

MOST_CLASSES = 43
"""With more classes only those of the suspect pairs are shown, or of the weakest where there is none."""
_WEAKEST = 12
_LABELLED_TICKS = 20
_WIDTH = 4.5
_LEVELS = 8
_FAINTEST, _DARKEST = 0.12, 0.95
_HALF = 0.46


def pair_map(result: DetectorResult) -> Plot | None:
    """Return the map of a detector's pairs; None where none of its triggers worked. The same result, the same bytes."""
    known = _shares(result)
    if not known:
        return None
    found = tuple(way for way in suspects(result) if way in known)
    classes = len(result.per_class)
    rows, columns, part = _lines(known, found, classes)
    censored = [Way(pair.source, pair.target) for pair in result.pairs if pair.strength is None]
    least = min(known.values())
    height = min(max(2.4, 1.2 + 3.4 * len(rows) / max(len(columns), 4)), 5.0)
    with canvas(_WIDTH, height) as figure:
        axes, scale = figure.subplots(2, height_ratios=(height - 0.8, 0.14))
        places = [{k: place for place, k in enumerate(line)} for line in (rows, columns)]
        for level, ways in enumerate(_levels(known, least)):
            _squares(axes, _inside(ways, *places), fill=_shade(level))
        _squares(axes, _inside(found, *places), edge="suspect")
        crosses = _inside(censored, *places)
        axes.plot([x for x, _ in crosses], [y for _, y in crosses], "x", color=COLOURS["muted"], markersize=3)
        _frame(axes, rows, columns)
        _legend(scale, least)
        return Plot(svg(figure, f"{clean(result.name)}-map"), _words(result, known, found, part))


def _shares(result: DetectorResult) -> dict[Way, float]:
    """Return the share of the usual strength of each pair with a trigger: of the median where the verdict gave none."""
    strengths = [pair.strength or 0.0 for pair in result.pairs]
    usual = median([strength for strength in strengths if 0 < strength < math.inf] or [1.0])
    shares = result.shares or [strength / usual for strength in strengths]
    return {
        Way(pair.source, pair.target): share
        for pair, strength, share in zip(result.pairs, strengths, shares, strict=True)
        if 0 < strength < math.inf and 0 < share < math.inf
    }


def _lines(known: dict[Way, float], found: Sequence[Way], classes: int) -> tuple[Sequence[int], Sequence[int], str]:
    """Return the classes that are rows, those that are columns, and in words which part of the whole this is."""
    if classes <= MOST_CLASSES:
        return range(classes), range(classes), ""
    shown = (found or sorted(known, key=lambda way: known[way]))[:_WEAKEST]
    part = "the suspect pairs" if found else "the pairs with the smallest shares"
    return sorted({way.source or 0 for way in shown}), sorted({way.target for way in shown}), f" Only {part} are shown."


def _levels(known: dict[Way, float], least: float) -> list[list[Way]]:
    """Return the pairs by shade, the least share first: even steps of the logarithm from there to 1."""
    span = -math.log(least)
    levels: list[list[Way]] = [[] for _ in range(_LEVELS)]
    for way, share in known.items():
        step = (math.log(share) + span) / span if span > 0 else 1.0
        levels[min(int((_LEVELS - 1) * step), _LEVELS - 1)].append(way)
    return levels


def _shade(level: int) -> tuple[float, float, float, float]:
    return to_rgba(COLOURS["bar"], _DARKEST - (_DARKEST - _FAINTEST) * level / (_LEVELS - 1))


def _inside(ways: Iterable[Way], rows: dict[int, int], columns: dict[int, int]) -> list[tuple[int, int]]:
    """Return (x, y) of the pairs that are shown."""
    return [
        (columns[way.target], rows[way.source or 0])
        for way in ways
        if way.target in columns and (way.source or 0) in rows
    ]


def _squares(
    axes: Axes,
    places: Sequence[tuple[int, int]],
    fill: tuple[float, float, float, float] | None = None,
    edge: str | None = None,
) -> None:
    """Draw squares as one path: a hundred elements fewer for each shade."""
    if not places:
        return
    corners = ((-_HALF, -_HALF), (_HALF, -_HALF), (_HALF, _HALF), (-_HALF, _HALF))
    one = [Path([(x + dx, y + dy) for dx, dy in (*corners, corners[0])], closed=True) for x, y in places]
    colour = COLOURS[edge] if edge else "none"
    patch = PathPatch(Path.make_compound_path(*one), facecolor=fill or "none", edgecolor=colour, linewidth=1.8)
    patch.set_in_layout(False)  # to measure a thousand corners takes longer than to draw them
    axes.add_artist(patch).set_clip_on(False)


def _frame(axes: Axes, rows: Sequence[int], columns: Sequence[int]) -> None:
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_aspect("equal")
    for axis, line in ((axes.xaxis, columns), (axes.yaxis, rows)):
        step = -(-len(line) // _LABELLED_TICKS)
        axis.set_major_locator(FixedLocator(range(0, len(line), step)))
        axis.set_major_formatter(FuncFormatter(lambda place, _, line=line: str(line[round(place)])))
        axis.set_tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("to class")
    axes.set_ylabel("from class")


def _legend(axes: Axes, least: float) -> None:
    """Show what the shades stand for."""
    for level in range(_LEVELS):
        axes.axvspan(level, level + 1, facecolor=_shade(level), linewidth=0)
    axes.set_xlim(0, _LEVELS)
    texts = {0.0: f"{least:.2g}", (_LEVELS - 1) / 2: f"{math.sqrt(least):.2g}", _LEVELS - 1.0: "1 and more"}
    axes.xaxis.set_major_locator(FixedLocator(list(texts)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: texts.get(place, "")))
    axes.xaxis.set_tick_params(length=0)
    axes.yaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_formatter(NullFormatter())
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("share of the usual strength")


def _words(result: DetectorResult, known: dict[Way, float], found: Sequence[Way], part: str) -> str:
    values = [pair.strength for pair in result.pairs if pair.strength and pair.strength < math.inf]
    spread = f"{min(values):.3g} to {max(values):.3g}, median {median(values):.3g}"
    least = f"down to {min(known.values()):.2g}"
    parts = [
        f"{clean(result.unit)} of {len(result.pairs)} pairs of classes: {spread}.",
        f"The stronger the colour, the smaller the share of the usual strength, {least}.{part}",
    ]
    parts.append(f"Standing apart, framed: {class_list(found)}." if found else "No pair stands apart.")
    absent = sum(pair.strength is None for pair in result.pairs)
    if absent:
        parts.append(f"No trigger was found for {absent} of them, crossed out.")
    return " ".join(parts)
