"""What the HTML report shows of each detector: numbers, figure, pictures, and what it can and cannot see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import Status
from backdoor_gate.reports.figures import input_range
from backdoor_gate.reports.pair_map import pair_map
from backdoor_gate.reports.plots import class_plot
from backdoor_gate.reports.rows import ABSENT, Outcome, Row, rows, success_of, suspects
from backdoor_gate.reports.text import slug
from backdoor_gate.reports.tiles import pictures

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport, DetectorResult
    from backdoor_gate.reports.figures import Range
    from backdoor_gate.reports.tiles import Pictures

LISTED_PAIRS = 12
"""Suspect pairs that a card lists at most."""

_ORDER = (Outcome.BLOCKS, Outcome.MISSING, Outcome.NOTED, Outcome.CLEAR, Outcome.SKIPPED)


@dataclass(frozen=True, slots=True)
class PairLine:
    """One suspect pair, in words."""

    way: str
    strength: str
    success: str
    lead: str


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
        plot: the figure of its classes or pairs as SVG; None without one.
        plot_words: the same in words.
        unit: of the strengths.
        pairs: the suspect pairs.
        more_pairs: how many there are besides.
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
    unit: str
    pairs: tuple[PairLine, ...]
    more_pairs: int
    pictures: tuple[Pictures, ...]


@dataclass(frozen=True, slots=True)
class TestedLine:
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


def claims(report: AuditReport) -> tuple[TestedLine, ...]:
    """Return what was tested, with what each test cannot see."""
    parts = [text.partition(": ") for text in report.coverage.tested]
    return tuple(TestedLine(name, sees, BY_NAME[name].blind_to if name in BY_NAME else "") for name, _, sees in parts)


def _card(row: Row, result: DetectorResult | None, values: Range, kind: str) -> Card:
    spec = BY_NAME.get(row.name)
    plot = (pair_map(result) if result.pairs else class_plot(result)) if result else None
    listed = _suspect_pairs(result) if result else ()
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
        unit=result.unit if result else "",
        pairs=listed[:LISTED_PAIRS],
        more_pairs=len(listed[LISTED_PAIRS:]),
        pictures=pictures(result, values) if result else (),
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


def _suspect_pairs(result: DetectorResult) -> tuple[PairLine, ...]:
    found = {(pair.source, pair.target): pair for pair in result.pairs}
    lines = []
    for way in suspects(result):
        if pair := found.get((way.source or 0, way.target)):
            strength = ABSENT if pair.strength is None else f"{pair.strength:.3g}"
            share = success_of(result, way)
            success = ABSENT if share is None else f"{share:.0%}"
            lines.append(PairLine(str(way), strength, success, f"{pair.lead:.3g}"))
    return tuple(lines)
