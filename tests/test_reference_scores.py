"""The shipped references are the zoo's clean networks, all of them, and nothing that a later pack would not compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_quality import line

from backdoor_gate.catalogue import DETECTORS, PACK_VERSION
from backdoor_gate.policy.load import load
from backdoor_gate.policy.template import SHIPPED
from backdoor_gate.verdict.references import parse, render, shipped
from benchmarks.quality.figures import by_role
from benchmarks.quality.judging import judged
from benchmarks.references import references

MEASURED = Path(__file__).parents[1] / "benchmarks" / "results" / "measured-evaluation.jsonl"


def measured(role: str, name: str, **changes: Any) -> dict[str, Any]:
    """Return a line on which nothing is missing."""
    made = line(role, patch=0.05)
    rows = {spec.name: {"values": [1.0] * 10, "success": None, "verified": False} for spec in DETECTORS}
    rows = {key: row | {"seconds": 1.0, "model_passes": 5} for key, row in rows.items()}
    rows |= {key: row | {"pairs": [[0, 1, 0.02, 1.0, 5.0]]} for key, row in rows.items() if key.startswith("pair_")}
    rows["neural_cleanse"] = made["detectors"]["neural_cleanse"]
    given = {"name": name, "network": "cnn", "detector_pack": PACK_VERSION, "detectors": rows}
    return made | given | changes


def test_clean_networks_of_this_pack_count_once() -> None:
    lines = [
        measured("clean", "b"),
        measured("clean", "a"),
        measured("clean", "a"),
        measured("backdoored", "c"),
        measured("apart", "d"),
        measured("clean", "e", detector_pack="2025.1.1"),
        measured("clean", "f", accuracy=None),
        measured("clean", "g", accuracy=0.1),
    ]
    found = references(lines)
    assert [model.name for model in found.models] == ["a", "b"]
    assert found.models[0].kind.model_dump() == {"classes": 10, "shape": (1, 8, 8), "architecture": "cnn"}
    assert found.models[0].scores["neural_cleanse"] < 0
    assert parse(render(found), "r.json") == found
    assert found.unfit(load(SHIPPED).detectors) is None


def test_the_raw_vectors_of_the_results_are_understood() -> None:
    if not MEASURED.exists():
        pytest.skip("no measured networks")
    lines = [json.loads(text) for text in MEASURED.read_text(encoding="utf-8").splitlines()]
    clean, planted = by_role([judged(each) for each in lines])
    apart = [line for line in lines if line["role"] == "apart"]
    assert len(clean) + len(planted) + len(apart) == len(lines)
    assert all(network.scores for network in (*clean, *planted))
    assert all(network.subject.kind.shape[1:] in {(8, 8), (28, 28), (32, 32)} for network in clean)


def test_the_shipped_file_is_one() -> None:
    assert all(not model.excluded for model in shipped().models)
    assert shipped().data == "clean"
