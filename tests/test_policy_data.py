"""What a policy declares of the images is held against the headers of the clean data, in one run and without numpy."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.policy import parse
from backdoor_gate.policy.data import contradictions

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.arange(12) % 4
RIGHT = {"images": np.zeros((12, 8, 6, 3), np.uint8), "labels": LABELS}


def told(folder: Path, arrays: dict[str, Any], model: str) -> list[str]:
    """Return the complaints about a policy with these clean images, without their places."""
    np.savez(folder / "clean.npz", **arrays)
    text = f"version: 1\nmodel: {model}\ndata: {{clean: clean.npz}}\n"
    found = contradictions(parse(text.encode(), folder / "policy.yaml"))
    return [str(each).replace(str(folder), "").removeprefix("/policy.yaml:") for each in found]


@pytest.mark.parametrize(
    ("arrays", "shape"),
    [
        (RIGHT, [3, 8, 6]),
        ({"images": np.zeros((12, 8, 6), np.uint8)}, [1, 8, 6]),
        ({"images": np.zeros((12, 3, 8, 6), np.float32), "labels": LABELS.astype(np.uint8)}, [3, 8, 6]),
        ({"images": RIGHT["images"], "labels": LABELS.astype(">i4")}, [3, 8, 6]),
    ],
)
def test_right_declarations_are_not_complained_about(tmp_path: Path, arrays: dict[str, Any], shape: list[int]) -> None:
    assert told(tmp_path, arrays, f"{{num_classes: 4, input: {{shape: {shape}}}}}") == []
    assert told(tmp_path, arrays, "{}") == []


@pytest.mark.parametrize(
    ("arrays", "model", "complaint"),
    [
        (
            RIGHT,
            "{input: {shape: [8, 6, 3]}}",
            (
                "2: model.input.shape: [8, 6, 3], but the images of /clean.npz are [3, 8, 6]; "
                "channels come first: write model.input.shape as [3, 8, 6]"
            ),
        ),
        (
            RIGHT,
            "{input: {shape: [1, 8, 6]}}",
            (
                "2: model.input.shape: [1, 8, 6], but the images of /clean.npz are [3, 8, 6]; "
                "make data and model.input.shape agree: images are not resized"
            ),
        ),
        (
            RIGHT,
            "{input: {normalize: {mean: [0.5], std: [0.2]}}}",
            (
                "2: model.input.normalize.mean: has 1 values, but the images of /clean.npz have 3 channels; "
                "give one value per channel"
            ),
        ),
        (
            RIGHT,
            "{num_classes: 3}",
            "2: model.num_classes: 3, but a label of /clean.npz is 3; labels count from 0; correct one of the two",
        ),
        (
            {"images": np.zeros((12, 8, 6, 3), np.float32)},
            "{}",
            (
                "3: data.clean: images of shape (12, 8, 6, 3) and type f4 in /clean.npz; "
                "store uint8 (N, H, W, C) or float (N, C, H, W), with 1 or 3 channels"
            ),
        ),
        (
            {"images": RIGHT["images"], "labels": LABELS[:5]},
            "{}",
            (
                "3: data.clean: images of shape (12, 8, 6, 3) but labels of shape (5,) in /clean.npz; "
                "store one label for each image"
            ),
        ),
        (
            {"pictures": RIGHT["images"]},
            "{}",
            "3: data.clean: no array 'images' in /clean.npz; write it with numpy.savez(path, images=…, labels=…)",
        ),
    ],
)
def test_a_contradiction_is_named_with_the_line_to_change(
    tmp_path: Path, arrays: dict[str, Any], model: str, complaint: str
) -> None:
    assert told(tmp_path, arrays, model)[0] == complaint


def zipped(member: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an npz file with this in place of its labels."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("labels.npy", member)
    return buffer.getvalue()


def saved(labels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, labels)
    return buffer.getvalue()


def damaged(content: bytes) -> bytes:
    """Return a file whose first member's content is all ones."""
    start = 30 + len("labels.npy")
    return content[:start] + b"\xff" * 20 + content[start + 20 :]


def lengthened(content: bytes) -> bytes:
    """Return a file whose list of members says that the first one goes on beyond the file's end."""
    place = content.index(b"PK\x01\x02") + 20
    return content[:place] + (1 << 20).to_bytes(4, "little") * 2 + content[place + 8 :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and no more",
        b"\x93NUMPY",
        damaged(zipped(saved(LABELS), zipfile.ZIP_DEFLATED)),
        lengthened(zipped(b"\x93NUMPY\x01\x00\x00\x20")),
        zipped(b"\x93NUMPY"),
        zipped(saved(np.zeros(4, [("digit", "i4")]))),
        zipped(saved(LABELS).replace(b"(12,)", b"(1e999,)")),
    ],
    ids=["empty", "cut zip", "npy", "deflate", "cut member", "cut header", "structured", "endless"],
)
def test_a_file_that_cannot_be_read_is_left_to_the_scan(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clean.npz").write_bytes(content)
    text = b"version: 1\nmodel: {input: {shape: [1, 2, 3]}}\ndata: {clean: clean.npz}\n"
    assert list(contradictions(parse(text, tmp_path / "policy.yaml"))) == []


def test_one_check_tells_all_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("clean.npz", **RIGHT)
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nmodel:\n  architecture: nets:build\n  architecture_path: nets\n  num_classes: 2\n"
        "  input: {shape: [8, 6, 3]}\ndata: {clean: clean.npz}\nreferences: none.json\n"
    )
    assert exits.run(root, ["policy", "check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines()] == [f"policy.yaml:{line}" for line in (4, 6, 5, 8)]


def test_init_writes_no_policy_that_contradicts_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("clean.npz", **RIGHT)
    assert exits.run(root, ["policy", "init", "--data", "clean.npz", "--shape", "8,6,3"]) == 2
    assert "write model.input.shape as [3, 8, 6]" in capsys.readouterr().err
    assert not (tmp_path / "policy.yaml").exists()
    assert exits.run(root, ["policy", "init", "--data", "clean.npz", "--shape", "3,8,6"]) == 0


def test_the_check_imports_no_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "clean.npz", **RIGHT)
    (tmp_path / "policy.yaml").write_text("version: 1\ndata: {clean: clean.npz}\n")
    code = (
        "import sys; from backdoor_gate.cli import exits; from backdoor_gate.cli.root import root; "
        f"code = exits.run(root, ['policy', 'check', {str(tmp_path / 'policy.yaml')!r}]); "
        "sys.exit(code or any(name in sys.modules for name in ('numpy', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
