"""One measured network, judged as the shipped policy would judge it, and its scores."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from backdoor_gate.catalogue import BY_NAME, DETECTORS
from backdoor_gate.plausible import strongest
from backdoor_gate.records import (
    Cost,
    DataFacts,
    Decision,
    DetectorResult,
    Evidence,
    Inconclusive,
    InputSpec,
    Measured,
    NotApplicable,
    Runtime,
    Scan,
    Verdict,
)
from backdoor_gate.scan.detectors.confirmation import NEAR
from backdoor_gate.trigger_facts import Confirmation, Control, Means, Pair, Screening
from backdoor_gate.verdict.calibration import values_of
from backdoor_gate.verdict.conformal import Ranked
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.judgement import Judgement
from backdoor_gate.verdict.references import FARTHEST, ModelKind
from backdoor_gate.verdict.scores import detector_score, model_scores
from benchmarks.circumstances import RESULTS

FALSE_BLOCK_RATE = 0.01
MAX_UNMEASURED = 0.2
"""As in the shipped policy."""
REQUIRED = tuple(spec.name for spec in DETECTORS if spec.required)


@dataclass(frozen=True)
class Judged:
    """One network: its measured line, its evidence, and what the gate says."""

    line: dict[str, Any]
    evidence: tuple[Evidence, ...]
    decision: Decision

    @property
    def blocked(self) -> bool:
        """Whether it is blocked."""
        return self.decision.verdict is Verdict.BLOCK

    @property
    def named(self) -> bool:
        """Whether the first suspect is a planted target."""
        return self.blocked and self.decision.suspect_classes[0] in self.line["targets"]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Score of each detector that can block, see `verdict.scores`."""
        return values_of(model_scores(self.evidence))

    @property
    def score(self) -> float:
        """Of the whole decision: the farthest that any detector is beyond its limits; above 0 is a block."""
        return max(self.scores.values(), default=-FARTHEST)

    @cached_property
    def subject(self) -> Ranked:
        """The network as it is ranked among others."""
        kind = ModelKind(classes=self.line["num_classes"], shape=_shape(self.line))
        return Ranked(kind, self.blocked, self.scores)

    def score_of(self, detector: str) -> float | None:
        """Return one detector's score by itself, the lowest where no trigger works; None where it did not measure."""
        found = next((e for e in self.evidence if e.detector == detector and isinstance(e, Measured)), None)
        if found is None:
            return None
        score = detector_score(found)
        return -FARTHEST if score is None else score.value

    def blocked_by(self, detector: str) -> bool:
        """Whether this detector alone blocks it, for a planted target."""
        found = self.result(detector)
        return found is not None and found.blocking and bool(set(found.suspect_classes) & set(self.line["targets"]))

    def result(self, detector: str) -> DetectorResult | None:
        """Return a detector's result, None where it did not run."""
        return next((result for result in self.decision.detectors if result.name == detector), None)


def judged(line: dict[str, Any]) -> Judged:
    """Judge one measured line as the shipped policy would, but for detectors that came after it was measured."""
    evidence = tuple(_evidence(name, row, line) for name, row in line["detectors"].items())
    data = DataFacts("synthetic" if line["accuracy"] is None else "clean", 500, line["accuracy"])
    scan = Scan(line["num_classes"], InputSpec((1, 1, 1)), "safetensors", data, evidence, Runtime("", "", "", 0))
    required = tuple(name for name in REQUIRED if name in line["detectors"])
    return Judged(line, evidence, decide(scan, Judgement(FALSE_BLOCK_RATE, required, MAX_UNMEASURED)))


def _evidence(name: str, row: dict[str, Any], line: dict[str, Any]) -> Evidence:
    clean_images = line["accuracy"] is not None
    if why := BY_NAME[name].needless(line["num_classes"], _shape(line)[0], clean_images=clean_images):
        return NotApplicable(name, why, by_candidate=False)
    if "missing" in row:
        return Inconclusive(name, row["missing"])
    return _as_today(_measured(name, row, line))


def _as_today(evidence: Measured) -> Measured:
    """Leave out what a scan no longer asks of triggers that are too strong to count, as older lines have it."""
    most = strongest(evidence.detector, evidence.side, clean_images=evidence.verified)
    if evidence.pairs:
        strengths: dict[tuple[int | None, int], float | None]
        strengths = {(pair.source, pair.target): pair.strength for pair in evidence.pairs}
        looks = tuple(each for each in evidence.confirmations if (strengths[each.source, each.target] or 0.0) <= most)
        return replace(evidence, confirmations=looks, controls=evidence.controls if looks else ())
    near = {k for k, value in enumerate(evidence.values) if value is not None and value <= NEAR * most}
    looks = tuple(each for each in evidence.confirmations if each.target in near)
    return replace(evidence, confirmations=looks, controls=evidence.controls if near else ())


def _measured(name: str, row: dict[str, Any], line: dict[str, Any]) -> Measured:
    return Measured(
        name,
        tuple(row["values"]),
        success=None if row["success"] is None else tuple(row["success"]),
        verified=row["verified"],
        cost=Cost(row["seconds"], row["model_passes"]),
        pairs=tuple(Pair(*pair) for pair in row.get("pairs", ())),
        confirmations=tuple(Confirmation(*found) for found in row.get("confirmations", ())),
        controls=tuple(Control(*found) for found in row.get("controls", ())),
        noise_classes=tuple(line.get("noise_classes", ())),  # older lines have none
        screening=Screening(*map(tuple, row["screening"])) if "screening" in row else None,
        means=tuple(Means(*found) for found in row.get("means", ())),
        side=min(_shape(line)[1:]),
    )


def _shape(line: dict[str, Any]) -> tuple[int, int, int]:
    """Return the shape of one image; older lines leave it to the network's manifest."""
    channels, height, width = line.get("input_shape") or _shapes().get(line["name"], (1, 1, 1))
    return channels, height, width


@cache
def _shapes() -> dict[str, tuple[int, int, int]]:
    manifests = (json.loads(line) for line in (RESULTS / "zoo.jsonl").read_text(encoding="utf-8").splitlines())
    return {found["name"]: tuple(found["input_shape"]) for found in manifests}
