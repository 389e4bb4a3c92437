"""The digest over an architecture's source: it follows every file that defines it, and imports none of them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

import pytest

from backdoor_gate import architecture_digest
from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = ["helper.py", "single.py", "zoo/deep/parts.py", "layers/conv.py", "linked/conv.py"]
COMPILED = ["fast.so", "zoo/ops.cpython-311-x86_64-linux-gnu.so", "layers/ops.pyd", "bare.pyc"]
"""Modules that run without any source beside them."""
BOMB = "raise RuntimeError('imported')\n"


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """A folder with a package and a module; importing either would raise."""
    package = tmp_path / "nets" / "zoo"
    (package / "deep").mkdir(parents=True)
    for path in (package / "__init__.py", package / "resnet.py", package / "deep" / "parts.py"):
        path.write_text(BOMB)
    (tmp_path / "nets" / "single.py").write_text(BOMB)
    return tmp_path / "nets"


def test_a_digest_is_stable_and_imports_nothing(nets: Path) -> None:
    first = code_digest("zoo.resnet:build", nets)
    assert first.startswith("sha256:")
    assert len(first) == 71
    assert first == code_digest("zoo.resnet:build", nets)
    assert "zoo" not in sys.modules
    assert first == code_digest("zoo.resnet:other", nets)


@pytest.mark.parametrize("changed", ["zoo/__init__.py", "zoo/resnet.py", "zoo/deep/parts.py", "zoo/new.py"])
def test_any_file_of_the_package_counts(changed: str, nets: Path) -> None:
    before = code_digest("zoo.resnet:build", nets)
    (nets / changed).write_text("x = 1\n")
    assert code_digest("zoo.resnet:build", nets) != before


def test_renaming_and_moving_bytes_between_files_counts(nets: Path) -> None:
    before = code_digest("zoo.resnet:build", nets)
    (nets / "zoo" / "deep" / "parts.py").rename(nets / "zoo" / "deep" / "others.py")
    assert code_digest("zoo.resnet:build", nets) != before


@pytest.mark.parametrize("target", ["single:build", "zoo.resnet:build", "safetensors.torch:load"])
@pytest.mark.parametrize("changed", [*SOURCES, *COMPILED])
def test_all_that_can_be_imported_from_the_search_path_counts(nets: Path, target: str, changed: str) -> None:
    (nets / "layers").mkdir()
    (nets.parent / "common").mkdir()
    (nets / "linked").symlink_to(nets.parent / "common")
    before = code_digest(target, nets)
    (nets / changed).write_text("x = 1\n")
    assert code_digest(target, nets) != before


def test_a_network_may_be_an_extension_module_alone(nets: Path) -> None:
    suffix = EXTENSION_SUFFIXES[0]
    (nets / f"native{suffix}").write_bytes(b"1")
    before = code_digest("native:build", nets)
    (nets / f"native{suffix}").write_bytes(b"2")
    assert code_digest("native:build", nets) != before


def test_what_is_no_module_does_not_count(nets: Path) -> None:
    before = code_digest("single:build", nets)
    for folder in (".git", ".venv/lib", "zoo/__pycache__", "data"):
        (nets / folder).mkdir(parents=True)
    for name in ("weights.bin", "libm.so.6", ".git/hook.py", ".venv/lib/x.py", "zoo/__pycache__/x.py", "data/1.png"):
        (nets / name).write_bytes(b"1")
    (nets / "broken.py").symlink_to("nowhere")
    os.mkfifo(nets / "pipe.py")
    assert code_digest("single:build", nets) == before


@pytest.mark.parametrize(
    ("limit", "least", "message"),
    [
        ("MAX_FILES", 5, "more than 5 modules and folders below"),
        ("MAX_BYTES", 10, "more than 0 MiB of code"),
    ],
)
def test_there_is_an_end_to_what_is_read(
    nets: Path, monkeypatch: pytest.MonkeyPatch, limit: str, least: int, message: str
) -> None:
    monkeypatch.setattr(architecture_digest, limit, least)
    with pytest.raises(UsageError, match=message) as caught:
        code_digest("single:build", nets)
    assert caught.value.where == "model.architecture"
    assert caught.value.hint.startswith("let model.architecture_path be a folder")


def test_a_folder_that_links_to_itself_is_an_error(nets: Path) -> None:
    (nets / "zoo" / "again").symlink_to(nets)
    with pytest.raises(UsageError, match=r"model\.architecture"):
        code_digest("single:build", nets)


def test_the_place_does_not_count(nets: Path, tmp_path: Path) -> None:
    before = code_digest("zoo.resnet:build", nets)
    nets.rename(tmp_path / "elsewhere")
    assert code_digest("zoo.resnet:build", tmp_path / "elsewhere") == before


def test_installed_packages_are_found(nets: Path) -> None:
    found = code_digest("safetensors.torch:load", None)
    (nets / "empty").mkdir()
    assert code_digest("safetensors.torch:load", nets / "empty") == found


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("zoo", "does not name a callable"),
        ("nowhere:build", "no module 'nowhere'"),
        ("zoo.nowhere:build", r"no module 'zoo\.nowhere'"),
        ("single.part:build", r"no module 'single\.part'"),
        ("sys:exit", "no module 'sys'"),
    ],
)
def test_what_cannot_be_found_names_the_policy_key(target: str, message: str, nets: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        code_digest(target, nets)
    assert caught.value.where == "model.architecture"


def test_no_tensor_library_is_imported() -> None:
    script = "import sys, backdoor_gate.architecture_digest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
