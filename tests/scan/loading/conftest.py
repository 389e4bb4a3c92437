"""One thread for all of it, and a clean import state after tests that import an architecture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

torch.set_num_threads(1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The candidate's empty folder."""
    folder = tmp_path / "candidate"
    folder.mkdir()
    return folder


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A path that only a payload would create."""
    path = tmp_path / "payload-ran"
    yield path
    assert not path.exists(), "a payload ran"


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Path]:
    """A folder for trusted architectures; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "nets"
    folder.mkdir()
    paths, modules = list(sys.path), set(sys.modules)
    before = sys.dont_write_bytecode, sys.pycache_prefix
    sys.dont_write_bytecode, sys.pycache_prefix = True, None
    yield folder
    sys.path[:] = paths
    sys.dont_write_bytecode, sys.pycache_prefix = before
    for name in set(sys.modules) - modules:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
