"""The pictures of a card: the trigger by itself, then images without and with it and what the model takes them for."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from backdoor_gate.catalogue import BY_NAME, Side
from backdoor_gate.reports.figures import by_trigger, picture, png, told
from backdoor_gate.reports.rows import success_of, suspects

if TYPE_CHECKING:
    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.records import DetectorResult
    from backdoor_gate.reports.figures import Range, Shown
    from backdoor_gate.reports.rows import Way

PART_SIDE, TWIN_SIDE = 128, 96
"""Pixels of the longest side of a trigger and of an example image; larger ones are shown at a fraction."""
PICTURED = 2
"""Triggers of a detector that are shown, suspects first; of all but the first only the trigger and one example."""

_PARTS = {
    "trigger": "the trigger on grey",
    "mask": "its mask: where it sits",
    "pattern": "its pattern, unmasked",
}
_TWINS = {"clean": "without it", "triggered": "with it"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture.

    Attributes:
        title: what it is.
        told: what the model takes it for; empty where that is not known, or it is no example.
        reached: whether that is where the trigger leads.
        words: all of it, for those who do not see it.
        source: a data URI.
    """

    title: str
    told: str
    reached: bool
    words: str
    source: Markup
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one trigger.

    Attributes:
        way: where it leads, such as `class 4` or `9→4`.
        source: the class whose images it moves, where it is one alone; empty else.
        target: the class it leads to.
        suspect: whether the detector suspects it.
        success: share of held-out images that it moves; empty where it was not measured.
        parts: the trigger by itself.
        twins: example images, each without and with it.
    """

    way: str
    source: str
    target: int
    suspect: bool
    success: str
    parts: tuple[Tile, ...]
    twins: tuple[tuple[Tile, ...], ...]


def pictures(result: DetectorResult, values: Range) -> tuple[Pictures, ...]:
    """Return the pictures of the suspects; where there is none, of what came nearest to being one."""
    found = by_trigger(result.artefacts)
    named = [way for way in suspects(result) if way in found]
    nearest = sorted(found, key=lambda way: _distance(result, way))[:1]
    return tuple(
        _pictures(result, found[way], values, suspect=bool(named), first=place == 0)
        for place, way in enumerate((named or nearest)[:PICTURED])
    )


def _distance(result: DetectorResult, way: Way) -> float:
    """Return a number that is the smaller, the more the detector's value speaks against a class or a pair."""
    if result.pairs:
        value = next((pair.strength for pair in result.pairs if (pair.source, pair.target) == way), None)
    else:
        value = result.per_class[way.target] if way.target < len(result.per_class) else None
    if value is None or math.isnan(value):
        return math.inf
    spec = BY_NAME.get(result.name)
    return -value if spec is not None and spec.side is Side.LARGE else value


def _pictures(result: DetectorResult, shown: Shown, values: Range, *, suspect: bool, first: bool) -> Pictures:
    share = success_of(result, shown.way)
    names = [name for name in _PARTS if name in shown.parts][: None if first else 1]
    twins = shown.twins[: None if first else 1]
    return Pictures(
        way=shown.way.words,
        source="" if shown.way.source is None else f"class {shown.way.source}",
        target=shown.way.target,
        suspect=suspect,
        success="" if share is None else f"{share:.0%}",
        parts=tuple(_tile(shown, shown.parts[name], _PARTS[name], values, PART_SIDE) for name in names),
        twins=tuple(
            tuple(_tile(shown, twin[name], _TWINS[name], values, TWIN_SIDE) for name in _TWINS if name in twin)
            for twin in twins
        ),
    )


def _tile(shown: Shown, artefact: Artefact, title: str, values: Range, side: int) -> Tile:
    pixels = picture(artefact, values, side)  # (H, W) or (H, W, 3)
    height, width = pixels.shape[:2]
    taken = told(artefact)
    sentence = f"an image {title}" if artefact.name in _TWINS else title
    heard = f", taken for {taken}" if taken else ""
    return Tile(
        title=title,
        told=taken,
        reached=artefact.prediction is not None and artefact.prediction.class_index == shown.way.target,
        words=f"Trigger of {shown.way.words}: {sentence}{heard}; {width} by {height} pixels",
        source=Markup(f"data:image/png;base64,{base64.b64encode(png(pixels)).decode('ascii')}"),  # noqa: S704 (base64)
        width=width,
        height=height,
    )
