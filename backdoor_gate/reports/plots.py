"""Figures of class vectors as inline SVG that takes its colours from the page's style sheet.

Each class is a dot with a stem from the median: the longer the stem, the further the class stands from the others. A
line shows where the anomaly index of the most extreme class would reach its limit.
Above `MANY_CLASSES` classes the dots are in order of their value, where the curve shows what stands apart.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from backdoor_gate.catalogue import BY_NAME, Side
from backdoor_gate.reports.drawing import Plot, canvas, svg
from backdoor_gate.reports.rows import class_list
from backdoor_gate.reports.svg import COLOURS
from backdoor_gate.reports.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from backdoor_gate.records import DetectorResult

MANY_CLASSES = 60
_LABELLED_TICKS = 20
_FAR = 20
"""A limit so many times further away than the most extreme class is not drawn."""
_LABELLED_SUSPECTS = 3
_LARGEST = 1e30
_POWER = math.log(_LARGEST)
_SIZE = (4.5, 2.2)


def class_plot(result: DetectorResult) -> Plot | None:
    """Return the figure of a detector's class vector; None where it measured no class.

    The same result gives the same bytes.
    """
    known = {k: _drawable(v) for k, v in enumerate(result.per_class) if v is not None and math.isfinite(v)}
    if not known:
        return None
    suspects = tuple(k for k in result.suspect_classes if k in known)
    with canvas(*_SIZE) as figure:
        axes = figure.add_subplot()
        if len(result.per_class) > MANY_CLASSES:
            places = _draw_ranks(axes, known, suspects, _usual(result, known))
        else:
            places = _draw_classes(axes, known, len(result.per_class), suspects)
        _scale(axes, result, list(known.values()), _usual(result, known))
        _label(axes, places, known, suspects)
        return Plot(svg(figure, clean(result.name)), _words(result, known, suspects))


def _usual(result: DetectorResult, known: dict[int, float]) -> float:
    """Return the median class: of those drawn at random, where most of the others were searched as the weakest."""
    drawn = [] if result.screening is None else [known[k] for k in result.screening.drawn if k in known]
    return median(drawn or known.values())


def _drawable(value: float) -> float:
    """Return a value that an axis can hold: what lies beyond is nonsense, which must not cost the report."""
    return math.copysign(min(max(abs(value), 1 / _LARGEST), _LARGEST), value) if value else 0.0


def _draw_classes(axes: Axes, known: dict[int, float], classes: int, suspects: Sequence[int]) -> dict[int, float]:
    """Draw one dot a class from left to right; return where each class is."""
    middle = median(known.values())
    for chosen, colour in ((set(known) - set(suspects), "bar"), (set(suspects), "suspect")):
        shown = [k for k in known if k in chosen]
        values = [known[k] for k in shown]
        axes.vlines(shown, middle, values, color=COLOURS[colour], linewidth=2)
        axes.plot(shown, values, "o", color=COLOURS[colour], markersize=6, markeredgewidth=0)
    axes.axhline(middle, color=COLOURS["muted"], linewidth=0.8, dashes=(4, 3))
    absent = [k for k in range(classes) if k not in known]
    axes.plot(absent, [middle] * len(absent), "x", color=COLOURS["muted"], markersize=6)
    axes.set_xlim(-0.6, classes - 0.4)
    all_fit = classes <= _LABELLED_TICKS
    axes.xaxis.set_major_locator(FixedLocator(range(classes)) if all_fit else MaxNLocator(10, integer=True))
    axes.set_xlabel("class")
    return {k: float(k) for k in known}


def _draw_ranks(axes: Axes, known: dict[int, float], suspects: Sequence[int], middle: float) -> dict[int, float]:
    """Draw the classes in order of their value; return where each class is."""
    order = sorted(known, key=lambda k: (known[k], k))
    places = {k: float(rank + 1) for rank, k in enumerate(order)}
    for chosen, colour, size in ((set(known) - set(suspects), "bar", 3), (set(suspects), "suspect", 7)):
        shown = [k for k in order if k in chosen]
        x, y = [places[k] for k in shown], [known[k] for k in shown]
        axes.plot(x, y, "o", color=COLOURS[colour], markersize=size, markeredgewidth=0)
    axes.axhline(middle, color=COLOURS["muted"], linewidth=0.8, dashes=(4, 3))
    axes.set_xlabel("rank of the class, smallest value first")
    return places


def _scale(axes: Axes, result: DetectorResult, values: Sequence[float], middle: float) -> None:
    """Draw the limit, and choose ticks that are plain numbers; positive values get a logarithmic axis."""
    logarithmic = min(values) > 0 and not result.unit.startswith("log ")
    limit = _limit(result, values, middle, logarithmic=logarithmic)
    if limit is not None:
        axes.axhline(limit, color=COLOURS["suspect"], linewidth=0.8, dashes=(1.5, 2))
        place = (axes.get_xlim()[1], limit)
        axes.annotate(
            "limit", place, xytext=(0, 2), textcoords="offset points", ha="right", va="bottom", color=COLOURS["muted"]
        )
    low, high = min(*values, limit or math.inf), max(*values, limit or -math.inf)
    axes.set_ylabel(clean(result.unit))
    axes.margins(y=0.18)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if logarithmic:
        if high - low < 1e-9 * high:  # one value, or as good as one: matplotlib cannot span an axis over it
            axes.set_ylim(low / 2, high * 2)
        axes.set_yscale("log")
        if high > 100 * low:
            axes.yaxis.set_major_locator(LogLocator(numticks=6))
        elif high > 4 * low:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _limit(result: DetectorResult, values: Sequence[float], middle: float, *, logarithmic: bool) -> float | None:
    """Return the value at which the index would reach its threshold, by rule of three from the most extreme class."""
    index, threshold = result.anomaly_index or 0.0, result.threshold or 0.0
    if result.name not in BY_NAME or not 0 < threshold / _FAR <= index < math.inf:
        return None
    extreme = min(values) if BY_NAME[result.name].side is Side.SMALL else max(values)
    ratio = threshold / index
    if logarithmic:
        power = math.log(middle) + (math.log(extreme) - math.log(middle)) * ratio
        return math.exp(min(max(power, -_POWER), _POWER))
    return middle + (extreme - middle) * ratio


def _label(axes: Axes, places: dict[int, float], known: dict[int, float], suspects: Sequence[int]) -> None:
    left, right = axes.get_xlim()
    for k in suspects[:_LABELLED_SUSPECTS]:
        beyond_middle = places[k] > (left + right) / 2
        axes.annotate(
            f"class {k}",
            (places[k], known[k]),
            xytext=(-8 if beyond_middle else 8, 0),
            textcoords="offset points",
            ha="right" if beyond_middle else "left",
            va="center",
            color=COLOURS["suspect"],
            fontweight="bold",
        )


def _words(result: DetectorResult, known: dict[int, float], suspects: Sequence[int]) -> str:
    values, classes = known.values(), len(result.per_class)
    left_out = () if result.screening is None else result.screening.left_out
    spread = f"{min(values):.3g} to {max(values):.3g}, median {_usual(result, known):.3g}"
    parts = [f"{clean(result.unit)} of {classes - len(left_out)} classes: {spread}."]
    if left_out:
        parts[0] = f"{parts[0][:-1]} of those drawn at random."
        parts.append(f"{len(left_out)} of {classes} classes had only a short search.")
    if suspects:
        each = ", ".join(f"class {k} with {known[k]:.3g}" for k in suspects[:_LABELLED_SUSPECTS])
        more = len(suspects) - _LABELLED_SUSPECTS
        parts.append(f"Standing apart: {each}{f' and {more} more' if more > 0 else ''}.")
    else:
        parts.append("No class stands apart.")
    absent = sorted(set(range(classes)) - set(known) - set(left_out))
    if absent:
        parts.append(f"No trigger was found for class {class_list(absent)}.")
    return " ".join(parts)
