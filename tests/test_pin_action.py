"""`scripts/pin_action.py`: one call pins the action in every file that shows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEW = ("someone/backdoor-gate", "c0ffee" + "1" * 34, "v12.0.3")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that are pinned, and the script."""
    for name in ("docs", "examples", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def pin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "scripts" / "pin_action.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def texts(folder: Path) -> dict[str, str]:
    paths = [folder / "README.md", *folder.glob("docs/**/*.md"), *folder.glob("examples/**/*.yml")]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_every_file_names_the_new_commit_and_none_the_old(copy: Path) -> None:
    assert pin(copy, *NEW).returncode == 0
    changed = texts(copy)
    pinned = {name for name, text in texts(ROOT).items() if "OWNER/backdoor-gate" in text}
    assert {"README.md", "docs/action.md", "examples/github/promote.yml"} <= pinned
    for name, text in changed.items():
        assert "OWNER/backdoor-gate" not in text, name
        assert "0" * 40 not in text, name
    assert f"uses: {NEW[0]}@{NEW[1]} # {NEW[2]}\n" in changed["README.md"]
    assert f"repository: {NEW[0]}\n          ref: {NEW[1]} # {NEW[2]}\n" in changed["examples/github/promote.yml"]


def test_a_pin_can_be_pinned_again(copy: Path) -> None:
    pin(copy, "other/backdoor-gate", "a" * 40, "v1.0.0")
    once = texts(copy)
    assert pin(copy, *NEW).returncode == 0
    assert pin(copy, "other/backdoor-gate", "a" * 40, "v1.0.0").returncode == 0
    assert texts(copy) == once


@pytest.mark.parametrize(
    "wrong", [(), NEW[:2], (NEW[0], "c0ffee", NEW[2]), (NEW[0], NEW[1], "12"), ("x", *NEW[1:])], ids=str
)
def test_a_wrong_call_changes_nothing(copy: Path, wrong: tuple[str, ...]) -> None:
    before = texts(copy)
    done = pin(copy, *wrong)
    assert (done.returncode, texts(copy)) == (1, before)
    assert done.stderr.startswith("usage: ")
