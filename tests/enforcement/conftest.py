"""A registry with a gated door: the same database, opened once plainly and once as `gated+sqlite`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.promotion import Pipeline

from backdoor_gate.enforcement import rules

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pipeline(sqlite_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline on the plain database, whose key the environment trusts."""
    made = Pipeline(sqlite_registry, tmp_path)
    monkeypatch.setenv(rules.TRUSTED, str(tmp_path / "gate.pub"))
    monkeypatch.delenv(rules.ALIASES, raising=False)
    monkeypatch.delenv(rules.STAGES, raising=False)
    return made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name of a model of this test's own."""
    return "gated-" + "".join(char if char.isalnum() else "-" for char in request.node.name)
