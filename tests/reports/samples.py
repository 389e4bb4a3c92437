"""Audits made by hand, one per verdict, and names as hostile as a registry allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from backdoor_gate.records import (
    Artefact,
    AuditReport,
    Candidate,
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


def patch(class_index: int = 7, size: int = 8) -> tuple[Artefact, ...]:
    """Return a bright corner patch on grey, an example image, and both together."""
    trigger = np.full((1, size, size), 0.5, np.float32)
    trigger[:, -2:, -2:] = 1.0
    clean = np.tile(np.linspace(0, 1, size, dtype=np.float32), (1, size, 1))
    both = clean.copy()
    both[:, -2:, -2:] = 1.0
    arrays = {"trigger": trigger, "clean": clean, "triggered": both}
    return tuple(Artefact(name, class_index, array) for name, array in arrays.items())


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


def blocked() -> AuditReport:
    reason = "class 7: a patch of 0.4 % of the image sends 98 % of held-out images there"
    found = measured(
        "neural_cleanse",
        reason=reason,
        blocking=True,
        anomaly_index=9.127,
        p_value=3e-20,
        suspect_classes=(7,),
        success=(None,) * 7 + (0.984, 0.9, 0.9),
        artefacts=patch(),
    )
    noted = measured("max_margin", reason="class 7 has a large margin", suspect_classes=(7,), success=None)
    results = (SKIPPED, noted, found, *(measured(name) for name in REQUIRED[2:]))
    return report(Decision(Verdict.BLOCK, Suspicion.NONE, (7,), (f"neural_cleanse: {reason}",), results))


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
