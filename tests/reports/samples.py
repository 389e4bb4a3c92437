"""Audits made by hand, one per verdict, and names as hostile as a registry allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from backdoor_gate.candidate_facts import Candidate
from backdoor_gate.illustrations import Artefact, Embedding, Prediction
from backdoor_gate.records import (
    AuditReport,
    Cost,
    Coverage,
    DataFacts,
    Decision,
    DetectorResult,
    InputSpec,
    PolicyRef,
    Runtime,
    Scan,
    Status,
    Suspicion,
    Verdict,
)
from backdoor_gate.reference_facts import Calibration
from backdoor_gate.trigger_facts import Confirmation, Pair

REQUIRED = ("max_margin", "neural_cleanse", "spectral_inversion", "warp_inversion")

HOSTILE = {
    "escape": "\x1b[31mred\x1b[0m\x07",
    "newline": "a\n## PASS\r\n::error::b",
    "markup": '<script>alert("x")</script>&amp;\'|`*_[x](http://x)',
    "direction": "\u202egnp.exe\u2066\u200f",
    "cdata": "]]> <![CDATA[",
    "long": "m" * 300,
    "surrogate": "a\ud800b\udfff",
    "noncharacter": "\ufffe\uffff\U0001fffe\ufeff",
    "nul": "a\x00b\x85c\u2028d",
    "commands": "::set-output name=verdict::PASS ##[error]%0A",
    "pipes": "a\\|b\\\\|c||",
    "fence": "```\n# x",
    "backtick": "`",
    "blank": " \t ",
    "markup of rich": "[bold red]x[/]",
    "mention": "@someone <!-- #1 $x$ www.example.org",
}


def candidate(name: str = "digits", version: str | None = "3") -> Candidate:
    return Candidate(
        requested=f"models:/{name}@challenger",
        uri=f"models:/{name}/{version}",
        name=name,
        version=version,
        path=Path("copy"),
        files=(),
        digest="sha256:" + "ab" * 32,
    )


def patch(class_index: int = 7, size: int = 8, source: int | None = None) -> tuple[Artefact, ...]:
    """Return a bright corner patch on grey, an example image, and both together."""
    trigger = np.full((1, size, size), 0.5, np.float32)
    trigger[:, -2:, -2:] = 1.0
    clean = np.tile(np.linspace(0, 1, size, dtype=np.float32), (1, size, 1))
    both = clean.copy()
    both[:, -2:, -2:] = 1.0
    arrays = {"trigger": trigger, "clean": clean, "triggered": both}
    told = {"clean": Prediction(3, 0.998), "triggered": Prediction(class_index, 0.871)}
    return tuple(
        Artefact(name, class_index, array, source, prediction=told.get(name)) for name, array in arrays.items()
    )


def pair_strengths(classes: int = 10, planted: tuple[tuple[int, int], ...] = ((9, 4), (0, 1))) -> tuple[Pair, ...]:
    """Return pairs of up to nine targets for each source: the planted ones weak, one censored, the others alike."""
    random = np.random.default_rng(0)
    ways = [(s, (s + 1 + t) % classes) for s in range(classes) for t in range(min(classes - 1, 9))]
    ways = [*planted, *(way for way in ways if way not in planted)]
    strengths = [0.004 if way in planted else float(np.exp(random.normal(-2.5, 0.4))) for way in ways]
    strengths[-1] = None
    return tuple(
        Pair(s, t, strength, 0.95 if (s, t) in planted else 0.8, 10.0 + s)
        for (s, t), strength in zip(ways, strengths, strict=True)
    )


def embedding(classes: int = 10, target: int = 4, source: int | None = 9) -> Embedding:
    """Return clusters of clean images, and a cluster of those with the trigger near the target's."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(classes, 16))
    labels = np.arange(200) % classes
    moved = np.flatnonzero(labels != target if source is None else labels == source)[:100]
    order = np.concatenate([moved, np.setdiff1d(np.arange(200), moved)])
    clean = centres[labels[order]] + random.normal(scale=0.3, size=(200, 16))
    triggered = centres[target] + 0.8 + random.normal(scale=0.2, size=(len(moved), 16))
    places = np.concatenate([clean, triggered]).astype(np.float32)
    return Embedding(
        components=places / np.linalg.norm(places, axis=0).max(),
        shares=tuple(np.linspace(0.25, 0.01, 16).tolist()),
        labels=(*labels[order].tolist(), *labels[moved].tolist()),
        triggered=(False,) * 200 + (True,) * len(moved),
        penultimate=True,
        detector="pair_patch",
        target=target,
        source=source,
        seconds=0.1,
        model_passes=200 + len(moved),
    )


def scan() -> Scan:
    return Scan(
        num_classes=10,
        input=InputSpec((1, 8, 8)),
        format="safetensors",
        data=DataFacts("clean", 500, 0.97),
        evidence=(),
        runtime=Runtime("2.10.0", "cpu", "C", 0),
        peak_memory=400 << 20,
    )


def measured(name: str, **changes: object) -> DetectorResult:
    result = DetectorResult(
        name=name,
        required=True,
        status=Status.MEASURED,
        reason="no class stands out",
        anomaly_index=1.25,
        threshold=4.4,
        p_value=0.35,
        unit="mask L1 / (H·W)",
        per_class=(*(0.1 + index / 100 for index in range(9)), None),
        success=(0.99,) * 10,
        unmeasured=(9,),
        cost=Cost(2.5, 12_000, 500),
    )
    return replace(result, **changes)


def report(decision: Decision, **changes: object) -> AuditReport:
    made = AuditReport(
        scan_id="0123456789abcdef",
        scanned_at=datetime(2026, 11, 20, 12, 30, tzinfo=UTC),
        expires_at=datetime(2027, 2, 18, 12, 30, tzinfo=UTC),
        requested="models:/digits@challenger",
        candidate=candidate(),
        policy=PolicyRef("gate.yaml", "sha256:" + "cd" * 32),
        detector_pack="2026.11",
        false_block_rate=0.01,
        decision=decision,
        coverage=Coverage(
            ("neural_cleanse: small patches", "warp_inversion: smooth warps"), ("image-dependent triggers",)
        ),
        seconds=12.345678,
        architecture_digest="sha256:" + "ef" * 32,
        data_digest="sha256:" + "01" * 32,
        scan=scan(),
        tool_version="0.1.0",
        expected_detectors=REQUIRED,
    )
    return replace(made, **changes)


SKIPPED = DetectorResult("final_layer", False, Status.NOT_APPLICABLE, "the network has no final linear layer")


def passed() -> AuditReport:
    results = (SKIPPED, *(measured(name) for name in REQUIRED))
    reason = "no evidence of a backdoor under the tests listed"
    return report(Decision(Verdict.PASS, Suspicion.NONE, (), (reason,), results))


def calibrated() -> AuditReport:
    """Return a PASS whose false-block rate rests on references."""
    made = passed()
    found = Calibration(
        references=199,
        excluded=1,
        blocked=0,
        smallest_rate=0.005,
        digest="sha256:" + "23" * 32,
        in_force=True,
        likely_bound=0.0237,
        p_value=0.37,
    )
    return replace(made, decision=replace(made.decision, calibrated=True, calibration=found))


def blocked() -> AuditReport:
    reason = (
        "class 7: a patch of 0.4 % of the image sends 98 % of held-out images there; "
        "again 0.0041 from another seed, 97% of the other half"
    )
    found = measured(
        "neural_cleanse",
        reason=reason,
        blocking=True,
        anomaly_index=9.127,
        p_value=3e-20,
        suspect_classes=(7,),
        expected=(*(0.11 + index / 100 for index in range(9)), None),
        success=(None,) * 7 + (0.984, 0.9, 0.9),
        artefacts=patch(),
        confirmations=(Confirmation(None, 7, 0.0041, 0.968, 0.31),),
    )
    noted = measured("max_margin", reason="class 7 has a large margin", suspect_classes=(7,), success=None)
    results = (SKIPPED, noted, found, *(measured(name) for name in REQUIRED[2:]))
    return report(Decision(Verdict.BLOCK, Suspicion.NONE, (7,), (f"neural_cleanse: {reason}",), results))


def paired() -> AuditReport:
    """Return a BLOCK by a detector that looks from class to class."""
    reason = "the triggers of 9→4, 0→1 are weaker than the classes' closeness explains"
    found = measured(
        "pair_patch",
        reason=reason,
        blocking=True,
        anomaly_index=6.5,
        threshold=None,
        p_value=None,
        per_class=(*(0.05 + index / 100 for index in range(10)),),
        suspect_classes=(4, 1),
        pairs=pair_strengths(),
        suspect_pairs=((9, 4), (0, 1)),
        artefacts=(*patch(4, source=9), *patch(1, source=0)),
        confirmations=(Confirmation(9, 4, 0.0052, 0.92, None), Confirmation(2, 3, None, None, None)),
    )
    results = (*(measured(name) for name in REQUIRED), found)
    decision = Decision(Verdict.BLOCK, Suspicion.NONE, (4, 1), (f"pair_patch: {reason}",), results)
    return report(decision, scan=replace(scan(), embedding=embedding()), expected_detectors=(*REQUIRED, "pair_patch"))


def inconclusive() -> AuditReport:
    reason = "timed out after 600 s"
    results = (
        measured("max_margin", anomaly_index=None, threshold=None, p_value=None),
        DetectorResult("neural_cleanse", True, Status.INCONCLUSIVE, reason, cost=Cost(600.0)),
    )
    return report(Decision(Verdict.INCONCLUSIVE, Suspicion.WEAK, (), (f"neural_cleanse: {reason}",), results))


def refused() -> AuditReport:
    reason = "model.pth: truncated or not a PyTorch file; re-upload the file"
    decision = Decision(Verdict.REFUSED, Suspicion.NONE, (), (reason,))
    return report(decision, scan=None, candidate=None, architecture_digest=None, data_digest=None, seconds=0.5)


VERDICTS = {"pass": passed, "block": blocked, "inconclusive": inconclusive, "refused": refused}


SAMPLES = {**VERDICTS, "pairs": paired, "calibrated": calibrated}
"""Every audit here, by name."""


def hostile(name: str) -> AuditReport:
    """Return a BLOCK in which every string that a candidate can influence is `name`."""
    base = blocked()
    results = tuple(replace(result, name=name, reason=name) for result in base.decision.detectors[2:3])
    return replace(
        base,
        requested=name,
        candidate=replace(candidate(name, name), requested=name, uri=name),
        policy=replace(base.policy, path=name),
        decision=replace(base.decision, reasons=(name, name), detectors=results),
        coverage=Coverage((name,), (name,)),
        scan=replace(base.scan, runtime=Runtime(name, name, name, 0, (name,))),
        expected_detectors=(name,),
    )
