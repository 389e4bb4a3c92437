"""The references that a policy names: read, held against what it measures, or refused with the place in the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import UsageError
from backdoor_gate.policy import load
from backdoor_gate.policy.references import judgement_with_references
from backdoor_gate.policy.template import SHIPPED
from backdoor_gate.verdict.references import KnownModel, ModelKind, References, digest, render, shipped

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "version: 1\nreferences: r.json\ndetectors: {max_margin: {restarts: 1, steps: 5}}\n"
KIND = ModelKind(classes=10, shape=(1, 8, 8))
MODEL = KnownModel(name="a", digest="sha256:" + "0" * 64, kind=KIND, blocked=False, scores={})
FILE = References(
    detectors={"max_margin": {"restarts": 1, "steps": 5}}, data="synthetic", false_block_rate=0.01, models=(MODEL,)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A policy whose references are beside it."""
    (tmp_path / "r.json").write_bytes(render(FILE))
    (tmp_path / "gate.yaml").write_text(POLICY)
    return tmp_path / "gate.yaml"


def test_they_are_part_of_the_judgement(path: Path) -> None:
    found = judgement_with_references(load(path))
    assert found.references == FILE
    assert found.references_digest == digest(render(FILE))
    assert found.references_unfit == ""
    assert found.required == ("max_margin",)


def test_without_them_nothing_changes(path: Path) -> None:
    path.write_text(POLICY.replace("references: r.json\n", ""))
    policy = load(path)
    assert judgement_with_references(policy) == policy.judgement
    found = judgement_with_references(load(SHIPPED))
    assert found.references is None
    assert found.ours is (shipped() if shipped().unfit(load(SHIPPED).detectors) is None else None)


def test_other_settings_are_told(path: Path) -> None:
    path.write_text(POLICY.replace("steps: 5", "steps: 6"))
    assert "other settings of max_margin" in judgement_with_references(load(path)).references_unfit
    (path.parent / "r.json").write_bytes(render(FILE.model_copy(update={"detector_pack": "2025.1.1"})))
    assert PACK_VERSION in judgement_with_references(load(path)).references_unfit


def test_what_cannot_be_read_is_an_error_at_its_place(path: Path) -> None:
    file = path.parent / "r.json"
    file.write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"gate\.yaml:2: references: .*r\.json: no references of the gate; write one"):
        judgement_with_references(load(path))
    file.unlink()
    with pytest.raises(UsageError, match=r"gate\.yaml:2: references: .*r\.json: cannot be read: No such file"):
        judgement_with_references(load(path))
    file.mkdir()
    with pytest.raises(UsageError, match=r"gate\.yaml:2: references: .*r\.json: not a regular file"):
        judgement_with_references(load(path))
