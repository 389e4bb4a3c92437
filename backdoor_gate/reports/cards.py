"""What the HTML report shows of each detector: numbers, figure, pictures, and what it can and cannot see."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import Status
from backdoor_gate.reports.figures import Range, by_class, input_range, picture, png
from backdoor_gate.reports.plots import class_plot
from backdoor_gate.reports.rows import Outcome, Row, rows
from backdoor_gate.reports.text import slug

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backdoor_gate.records import Artefact, AuditReport, DetectorResult

PICTURE_SIDE = 128
"""Pixels of the longest side of a picture; larger ones are shown at a fraction."""
PICTURED_CLASSES = 2
"""Classes of a detector whose triggers are shown, suspects first."""

_ORDER = (Outcome.BLOCKS, Outcome.MISSING, Outcome.NOTED, Outcome.CLEAR, Outcome.SKIPPED)
_TITLES = {
    "clean": "an image without it",
    "triggered": "the same image with it",
    "trigger": "the trigger on grey",
    "mask": "its mask: where it sits",
    "pattern": "its pattern, unmasked",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture."""

    title: str
    words: str
    source: Markup
    """A data URI."""
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one class."""

    class_index: int
    suspect: bool
    success: str
    """Share of held-out images that the trigger sends to the class; empty where it was not measured."""
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Meter:
    """Anomaly index and threshold as places on a scale, both in percent of its length."""

    index: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Card:
    """One detector.

    Attributes:
        anchor: id of the card within the page.
        title, claim, blind_to: from the catalogue; empty for a detector that is not of this pack.
        measured: whether there are numbers to show.
        data: which images it used, in words.
        model_passes: images put through the model.
        plot: the figure of its class vector as SVG; None without one.
        plot_words: the same in words.
    """

    row: Row
    anchor: str
    title: str
    claim: str
    blind_to: str
    measured: bool
    data: str
    model_passes: int
    meter: Meter | None
    plot: Markup | None
    plot_words: str
    pictures: tuple[Pictures, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of what was tested: the detector, what it looks for, and what it cannot see."""

    name: str
    sees: str
    blind_to: str


def cards(report: AuditReport) -> tuple[Card, ...]:
    """Return a card for every row, those that decided first; none where the audit ended before any detector."""
    if not report.decision.detectors:
        return ()
    found = {result.name: result for result in report.decision.detectors}
    values = input_range(report.scan.input if report.scan else None)
    kind = report.scan.data.kind if report.scan else ""
    shown = sorted(rows(report), key=lambda row: _ORDER.index(row.outcome))
    return tuple(_card(row, found.get(row.name), values, kind) for row in shown)


def claims(report: AuditReport) -> tuple[Claim, ...]:
    """Return what was tested, with what each test cannot see."""
    parts = [text.partition(": ") for text in report.coverage.tested]
    return tuple(Claim(name, sees, BY_NAME[name].blind_to if name in BY_NAME else "") for name, _, sees in parts)


def _card(row: Row, result: DetectorResult | None, values: Range, kind: str) -> Card:
    spec = BY_NAME.get(row.name)
    plot = class_plot(result) if result else None
    return Card(
        row=row,
        anchor=f"detector-{slug(row.name)}",
        title=spec.title if spec else "",
        claim=spec.claim if spec else "",
        blind_to=spec.blind_to if spec else "",
        measured=result is not None and (result.status is Status.MEASURED or bool(result.per_class)),
        data=_data(result, kind) if result else "",
        model_passes=result.cost.model_passes if result else 0,
        meter=_meter(result) if result else None,
        plot=Markup(plot.svg) if plot else None,  # noqa: S704 (made of numbers by matplotlib)
        plot_words=plot.words if plot else "",
        pictures=_pictures(result, values) if result else (),
    )


def _data(result: DetectorResult, kind: str) -> str:
    used = result.cost.images_used
    if not used:
        return "no images: the weights, or inputs of its own making"
    return f"{used} {kind} images" if kind == "synthetic" else f"{used} {kind} images, half of them held out"


def _meter(result: DetectorResult) -> Meter | None:
    index, threshold = result.anomaly_index, result.threshold
    if index is None or threshold is None or not (math.isfinite(index) and math.isfinite(threshold) and threshold > 0):
        return None
    length = 1.15 * max(index, threshold)
    return Meter(100 * max(index, 0.0) / length, 100 * threshold / length)


def _pictures(result: DetectorResult, values: Range) -> tuple[Pictures, ...]:
    """Return the pictures of the suspect classes; where there is none, of the weakest trigger found."""
    named = by_class(result.artefacts)
    suspects = [k for k in result.suspect_classes if k in named]
    weakest = sorted(named, key=lambda k: _value(result, k))[:1]
    return tuple(
        Pictures(k, k in suspects, _success(result, k), _tiles(named[k], values))
        for k in (suspects or weakest)[:PICTURED_CLASSES]
    )


def _value(result: DetectorResult, class_index: int) -> float:
    value = result.per_class[class_index] if class_index < len(result.per_class) else None
    return math.inf if value is None or math.isnan(value) else value


def _success(result: DetectorResult, class_index: int) -> str:
    share = result.success[class_index] if result.success and class_index < len(result.success) else None
    return "" if share is None or not math.isfinite(share) else f"{share:.0%}"


def _tiles(named: Mapping[str, Artefact], values: Range) -> tuple[Tile, ...]:
    return tuple(_tile(named[name], title, values) for name, title in _TITLES.items() if name in named)


def _tile(artefact: Artefact, title: str, values: Range) -> Tile:
    pixels = picture(artefact, values, PICTURE_SIDE)  # (H, W) or (H, W, 3)
    height, width = pixels.shape[:2]
    source = Markup(f"data:image/png;base64,{base64.b64encode(png(pixels)).decode('ascii')}")  # noqa: S704 (base64)
    words = f"Class {artefact.class_index}: {title}, {width} by {height} pixels"
    return Tile(title, words, source, width, height)
