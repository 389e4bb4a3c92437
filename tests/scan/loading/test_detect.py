"""Which file holds the weights: told by content, contradicted by name, one and only one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save
from support.forging import entry, pickled, safetensors_file, saved, touching, zipped

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.detect import find_weights

if TYPE_CHECKING:
    from pathlib import Path

STATE = {"w": torch.ones(2)}
SAFE, STATE_DICT = save(STATE), saved(STATE)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("model.safetensors", SAFE, "safetensors"),
        ("data/deep/er/weights", SAFE, "safetensors"),
        ("model.PTH", STATE_DICT, "state_dict"),
        ("checkpoint", STATE_DICT, "state_dict"),
    ],
)
def test_the_one_weights_file_is_found(name: str, data: bytes, kind: str, root: Path) -> None:
    for other, content in {
        "MLmodel": b"flavors: {}\n",
        "conda.yaml": b"a: 1\n",
        "requirements.txt": b"torch\n",
        "input_example.json": b"[[0.1]]",
        "data/pickle_module_info.txt": b"mlflow.pytorch.pickle_module",
        "README.md": b"# Model",
        "page.html": b"<html></html>",
        "examples.npz": zipped({"images.npy": b"1"}),
        "picture.png": b"\x89PNG\r\n\x1a\n",
    }.items():
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        (root / other).write_bytes(content)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    found = find_weights(root)
    assert (found.name, found.kind, found.path) == (name, kind, root / name)


def refusal(root: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        find_weights(root)
    return str(caught.value)


def test_no_weights(root: Path) -> None:
    (root / "MLmodel").write_text("flavors: {}")
    assert "no model found" in refusal(root)


def test_more_than_one_is_ambiguous_and_both_are_named(root: Path) -> None:
    (root / "a.pth").write_bytes(STATE_DICT)
    (root / "data").mkdir()
    (root / "data" / "b.safetensors").write_bytes(SAFE)
    assert "ambiguous weights: a.pth, data/b.safetensors" in refusal(root)
    for index in range(9):
        (root / f"c{index}.pt").write_bytes(b"")
    assert "and 7 more" in refusal(root)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((name, pickled({})) for name in ("a.json", "a.txt", "a.safetensors", "MLmodel", "a.pt2", "a.onnx")),
        *((name, STATE_DICT) for name in ("a.yaml", "a.safetensors", "a.pt2")),
        *((name, SAFE) for name in ("a.pth", "a.bin", "a.py", "README", "a.pt2")),
    ],
)
def test_content_that_contradicts_the_name_is_refused(name: str, data: bytes, root: Path) -> None:
    (root / name).write_bytes(data)
    assert refusal(root).startswith(f"{name}: content does not match its type")


def test_a_pickle_hidden_among_metadata_beside_sound_weights_is_ambiguous(root: Path, marker: Path) -> None:
    (root / "model.safetensors").write_bytes(SAFE)
    (root / "input_example.json").write_bytes(pickled(touching(marker)))
    assert "ambiguous weights" in refusal(root)


@pytest.mark.parametrize("data", [b"\x08\x07\x12\x07pytorch", b"\x08\x0a\x3a\x05graph"])
def test_onnx_is_refused(data: bytes, root: Path) -> None:
    (root / "model.onnx").write_bytes(data)
    assert "ONNX is not supported" in refusal(root)


def test_damaged_safetensors_stay_safetensors(root: Path) -> None:
    (root / "model.safetensors").write_bytes(safetensors_file({}, length=1 << 63))
    assert find_weights(root).kind == "safetensors"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")], ids=["pipe", "link"])
def test_other_than_regular_files_are_refused(make: object, root: Path) -> None:
    assert callable(make)
    make(root / "model.pth")
    assert refusal(root) == "model.pth: not a regular file"


@pytest.mark.parametrize("length", [128, 384, 640, 896, 1152, 1408])
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(length: int, root: Path) -> None:
    header = json.dumps({"w": entry([1], 0, 4)}).encode().ljust(length)
    data = safetensors_file(header, b"\0\0\x80?")
    assert data[0] == 0x80
    (root / "model.safetensors").write_bytes(data)
    assert find_weights(root).kind == "safetensors"
