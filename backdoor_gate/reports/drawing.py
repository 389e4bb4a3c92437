"""What all figures share: a canvas in the page's own style, and its drawing as inline SVG."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from backdoor_gate.reports.svg import COLOURS, inline

if TYPE_CHECKING:
    from collections.abc import Iterator

_STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "backdoor-gate",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure: the SVG element, and the same in words."""

    svg: str
    words: str


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of this size in inches; it must be drawn, and written by `svg`, within the context."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element whose ids start with `name`. The same figure gives the same bytes."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return inline(file.getvalue(), name)
