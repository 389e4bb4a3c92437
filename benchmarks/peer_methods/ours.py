"""The gate's own detectors at their defaults: `neural_cleanse` alone, or all of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from backdoor_gate.scan import session
from backdoor_gate.scan.data.clean import USUAL_IMAGES
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.judgement import Judgement
from benchmarks.measure import job
from benchmarks.peer_methods.common import Meter, tell

FALSE_BLOCK_RATE, MAX_UNMEASURED = 0.01, 0.2
"""The policy's defaults."""


def main(folder: Path, names: tuple[str, ...], seed: int) -> None:
    """Scan once with the detectors `names`; all where there are none."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    wanted = job(folder, meta, with_data=True, seed=seed)
    wanted = replace(wanted, detectors=tuple(plan for plan in wanted.detectors if plan.name in names or not names))
    meter = Meter()
    scan = session.measure(wanted, lambda _: None)
    spent = meter.read()
    required = tuple(plan.name for plan in wanted.detectors if plan.required)
    decision = decide(scan, Judgement(FALSE_BLOCK_RATE, required, MAX_UNMEASURED))
    passes = sum(evidence.cost.model_passes for evidence in scan.evidence if hasattr(evidence, "cost"))
    result = {"passes": passes} | spent | {"verdict": decision.verdict.value, "classes": list(decision.suspect_classes)}
    tell(result | {"images": USUAL_IMAGES, "reasons": list(decision.reasons)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(name for name in sys.argv[2].split(",") if name), int(sys.argv[3]))
