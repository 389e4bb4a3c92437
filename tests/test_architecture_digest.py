"""The digest over an architecture's source: it follows every file that defines it, and imports none of them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

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


def test_siblings_of_a_single_module_count_and_other_files_do_not(nets: Path) -> None:
    before = code_digest("single:build", nets)
    (nets / "weights.bin").write_bytes(b"1")
    (nets / "zoo" / "resnet.py").write_text("x = 1\n")
    assert code_digest("single:build", nets) == before
    (nets / "helper.py").write_text("x = 1\n")
    assert code_digest("single:build", nets) != before


def test_the_place_does_not_count(nets: Path, tmp_path: Path) -> None:
    before = code_digest("zoo.resnet:build", nets)
    nets.rename(tmp_path / "elsewhere")
    assert code_digest("zoo.resnet:build", tmp_path / "elsewhere") == before


def test_installed_packages_are_found(nets: Path) -> None:
    assert code_digest("safetensors.torch:load", None) == code_digest("safetensors.torch:load", nets)


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
