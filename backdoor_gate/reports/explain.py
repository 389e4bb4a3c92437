"""A report in JSON, told in plain words: what the verdict is, why, how sure it is, and what to do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import FEWEST_COMPARED
from backdoor_gate.records import Suspicion, Verdict
from backdoor_gate.reports.advice import next_steps
from backdoor_gate.reports.rows import MEANING, Way, class_list, number, probability
from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backdoor_gate.reports.json_v1 import DetectorV1, ReportV1

WIDTH = 100
"""Columns."""

_REASONS = 3
_REASON_LINES = 6
"""Of all reasons together: one alone is told at length."""
_SURE_DETECTORS = 2
_STEPS = 5


def explain(report: ReportV1) -> str:
    """Return no more than 25 lines that explain a report, each of at most `WIDTH` columns."""
    verdict = Verdict(report["verdict"])
    weak = report["suspicion"] == Suspicion.WEAK
    meaning = MEANING[verdict]
    suspects = f", in class {class_list(report['suspect_classes'])}" if report["suspect_classes"] else ""
    if pairs := report.get("suspect_pairs"):
        suspects += f", by way of {_way_list(pairs)}"
    title = _wrapped(f"{verdict.value}  {terminal(report['candidate']['uri'], 200)}", "")
    reasons = _reasons(report, meaning)
    why = _part("Why", reasons, max(2, _REASON_LINES // max(1, len(reasons))))
    steps = _part("What next", next_steps(verdict, report["reasons"], weak=weak)[:_STEPS])
    sure = _part("How sure", _certainty(report, verdict))
    return "\n".join((*title, f"{meaning[0].upper()}{meaning[1:]}{suspects}.", *why, *sure, *steps))


def _way_list(pairs: Iterable[Sequence[int]]) -> str:
    return class_list([Way(source, target) for source, target in pairs])


def _part(title: str, texts: Iterable[str], most: int = 2) -> list[str]:
    lines = [line for text in texts for line in _wrapped(text, "  ", most)]
    return [title, *lines] if lines else []


def _wrapped(text: str, indent: str, most: int = 2) -> list[str]:
    """Return a text as so many lines at most, those after the first further in."""
    return textwrap.wrap(
        terminal(text), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", max_lines=most, placeholder=" …"
    )


def _reasons(report: ReportV1, meaning: str) -> list[str]:
    found = [reason for reason in report["reasons"] if reason != meaning]
    more = len(found) - _REASONS
    return found[:_REASONS] + ([f"and {more} more"] if more > 0 else [])


def _certainty(report: ReportV1, verdict: Verdict) -> list[str]:
    """Return what the numbers say; nothing where nothing was measured."""
    measured = [found for found in report["detectors"] if found["status"] == "measured"]
    if not measured:
        return ["Nothing was measured, so there is no number to this verdict."]
    telling = sorted(measured, key=_closeness, reverse=True)
    if verdict is Verdict.BLOCK:
        telling = [found for found in telling if found["suspect_classes"]]
    rate = report["false_block_rate"]
    share = "unknown" if rate is None else f"{rate:.2%} of clean models"
    kind = "measured on reference models" if report["calibrated"] else "nominal, not measured on models of yours"
    images = "clean images that you gave" if report["data_digest"] else "synthetic images, so success is not verified"
    of_them = report.get("images")
    if of_them and of_them["accuracy"] is not None:
        images += f", of which the model gets {of_them['accuracy']:.0%} right"
    return [
        *(_numbers(found) for found in telling[:_SURE_DETECTORS]),
        f"{len(measured)} of {len(report['detectors'])} detectors measured, on {images}.",
        f"False blocks: {share} ({kind}{_standing(report)}).",
    ]


def _standing(report: ReportV1) -> str:
    """Return where the model stands among its references, where they say so."""
    found = report.get("calibration")
    if not found or found["p_value"] is None:
        return ""
    whose = "clean networks of ours" if found["ours"] else "references"
    return f"; p = {probability(found['p_value'])} among {found['references']} {whose}"


def _closeness(found: DetectorV1) -> float:
    """Return how near a detector came to its limit; 1 is there."""
    index, threshold = found["anomaly_index"], found["threshold"]
    return index / threshold if index is not None and threshold else 0.0


def _numbers(found: DetectorV1) -> str:
    index, threshold = found["anomaly_index"], found["threshold"]
    if pairs := found.get("pairs"):
        named = found.get("suspect_pairs")
        apart = f"{_way_list(named)} {'stands' if len(named) == 1 else 'stand'} apart" if named else "none stands apart"
        return f"{found['name']}: {len(pairs['sources'])} pairs of classes, compared with each other: {apart}."
    if index is None or threshold is None:
        if len(found["per_class"]) < FEWEST_COMPARED:
            return f"{found['name']}: no comparison between classes is possible; only absolute trigger sizes counted."
        return f"{found['name']}: judged by its own scale, not by its anomaly index."
    if index <= threshold and found["suspect_classes"]:
        within = f"its anomaly index {number(index)} is within {number(threshold)}"
        return f"{found['name']}: suspect by its own scale; {within}."
    side = "beyond" if index > threshold else "within"
    chance = probability(found["p_value"])
    return (
        f"{found['name']}: anomaly index {number(index)}, {side} its limit of {number(threshold)}; "
        f"chance of that on a clean model: {chance}."
    )
