"""A pipeline on a registry in a file, and one on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.promotion import Pipeline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pipeline(sqlite_registry: str, tmp_path: Path) -> Pipeline:
    """A pipeline of this test's own on the registry in a file."""
    return Pipeline(sqlite_registry, tmp_path)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name of a model of this test's own."""
    return "".join(char if char.isalnum() else "-" for char in request.node.name)
