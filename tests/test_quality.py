"""The quality benchmark judges as the gate does, and counts right."""

from __future__ import annotations

from typing import Any

import pytest

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import Verdict
from benchmarks.quality import interval, judged, markdown, summary

ABOUT: dict[str, Any] = {
    "command": "x", "commit": "0", "date": "2026-01-01", "machine": "m", "load_average": 0.0, "seed": 0, "versions": {},
}  # fmt: skip
PATCHES = [0.11, 0.1, 0.12, 0.09, 0.13, 0.105, 0.095, 0.115, 0.125, 0.108]


def line(role: str, *, patch: float | None = None) -> dict[str, Any]:
    """Return a measured network; with `patch` class 3 has a trigger of that strength."""
    rows = {spec.name: {"missing": "not run"} for spec in DETECTORS}
    values = [patch if patch and k == 3 else value for k, value in enumerate(PATCHES)]
    rows["neural_cleanse"] = {
        "values": values, "success": [1.0] * 10, "verified": True, "seconds": 1.0, "model_passes": 5,
    }  # fmt: skip
    targets = [3] if role == "backdoored" else []
    kept = {"name": role, "role": role, "family": "badnets", "targets": targets, "num_classes": 10}
    return kept | {"accuracy": 0.9, "seconds": 2.0, "detectors": rows}


@pytest.mark.parametrize(
    ("hits", "count", "expected"), [(0, 300, (0.0, 0.012)), (10, 10, (0.692, 1.0)), (5, 10, (0.187, 0.813))]
)
def test_intervals_are_those_of_the_tables(hits: int, count: int, expected: tuple[float, float]) -> None:
    assert interval(hits, count) == expected


def test_a_planted_patch_is_counted_for_its_family_and_its_detector() -> None:
    networks = [judged(line("clean")), judged(line("backdoored", patch=0.004)), judged(line("backdoored"))]
    assert [network.decision.verdict for network in networks] == [
        Verdict.INCONCLUSIVE, Verdict.BLOCK, Verdict.INCONCLUSIVE,
    ]  # fmt: skip
    figures = summary(networks)
    assert (figures["clean"]["hits"], figures["clean"]["of"]) == (0, 1)
    assert (figures["named"]["hits"], figures["named"]["of"]) == (1, 2)
    assert figures["coverage"]["badnets"]["neural_cleanse"] == 1
    assert figures["coverage"]["badnets"]["pair_patch"] == 0
    assert figures["inconclusive"] == 2
    text = markdown("made-up", ABOUT, figures, networks)
    assert "| badnets | 1 of 2 (0.01-0.99) | 1 of 2 (0.01-0.99) |" in text
    assert "- backdoored: INCONCLUSIVE (planted: 3)" in text


def test_a_block_for_another_class_is_not_named() -> None:
    wrong = line("backdoored", patch=0.004) | {"targets": [5]}
    assert judged(wrong).blocked
    assert not judged(wrong).named
