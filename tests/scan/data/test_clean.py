"""Clean images: both forms, the sample, the scaling, and everything that can be wrong with a data set."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backdoor_gate.errors import UsageError
from backdoor_gate.records import Declared
from backdoor_gate.scan.data.clean import CleanImages, load_clean, read_clean

if TYPE_CHECKING:
    from numpy.typing import NDArray

torch.set_num_threads(1)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "clean.npz", **arrays)
    return path / "clean.npz"


def read(path: Path, *, count: int | None = 1000, seed: int = 0, **declared: Any) -> CleanImages:
    return load_clean(path, Declared(**declared), max_images=count, seed=seed)


def colours(count: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


LABELS = np.arange(12) % 3


def test_uint8_images_are_scaled_to_the_range(tmp_path: Path) -> None:
    images = colours()
    images[0, 0, 0] = (0, 128, 255)
    found = read(npz(tmp_path, images=images, labels=LABELS), low=-1.0, high=1.0)
    assert found.images.shape == (12, 3, 4, 5)
    assert found.images.dtype == torch.float32
    torch.testing.assert_close(found.images[0, :, 0, 0], torch.tensor([-1.0, 128 / 127.5 - 1, 1.0]))
    assert found.labels is not None
    assert found.labels.dtype == torch.int64
    assert found.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "images",
    [
        np.random.default_rng(0).random((6, 3, 4, 5)),
        np.random.default_rng(0).random((6, 4, 5), dtype=np.float32),
        np.random.default_rng(0).random((6, 1, 4, 5)).astype(np.float16),
    ],
)
def test_float_images_are_kept(images: NDArray[Any], tmp_path: Path) -> None:
    found = read(npz(tmp_path, images=images))
    expected = images if images.ndim == 4 else images[:, None]
    np.testing.assert_array_equal(found.images.numpy(), expected.astype(np.float32))
    assert found.labels is None


def test_rounding_beyond_the_range_is_clipped(tmp_path: Path) -> None:
    images = np.full((2, 1, 2, 2), 1 + 1e-6)
    assert read(npz(tmp_path, images=images)).images.max() == 1


def test_grey_uint8_and_compressed_files(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "clean.npz", images=colours()[..., 0], labels=LABELS.astype(np.uint8))
    assert read(tmp_path / "clean.npz").images.shape == (12, 1, 4, 5)


def test_the_sample_is_even_over_the_classes_and_follows_the_seed(tmp_path: Path) -> None:
    labels = np.array([0] * 80 + [1] * 15 + [2] * 5)
    path = npz(tmp_path, images=np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8),
               labels=labels)  # fmt: skip
    found = read(path, count=30, seed=3)
    assert found.labels is not None
    assert torch.bincount(found.labels).tolist() == [13, 12, 5]
    assert read_clean(path, Declared(), max_images=30, seed=3).available == 100
    again, other = read(path, count=30, seed=3), read(path, count=30, seed=4)
    assert torch.equal(found.images, again.images)
    assert not torch.equal(found.images, other.images)
    # Image i is painted in colour i, so labels and images must still belong together.
    colour = (found.images[:, 0, 0, 0] * 255).round().long()
    assert torch.from_numpy(labels)[colour].equal(found.labels)
    assert len(read(npz(tmp_path, images=colours()), count=5).images) == 5


def fault(path: Path, **declared: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(path, **declared)
    assert caught.value.where.startswith(str(path)[:10])
    assert caught.value.hint
    return caught.value


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"x": colours()}, "no array 'images'"),
    "empty": ({"images": colours(0)}, "no images"),
    "objects": ({"images": np.array([{}, None])}, "not a readable npz|holds no numbers"),
    "texts": ({"images": np.array(["a"])}, "holds no numbers"),
    "complex": ({"images": np.ones((2, 1, 2, 2), complex)}, "holds no numbers"),
    "integers": ({"images": np.ones((2, 1, 2, 2), int)}, "images of type int64"),
    "one image": ({"images": colours()[0, :, :, 0]}, "images of shape"),
    "five dimensions": ({"images": colours()[None]}, "images of shape"),
    "uint8 with channels first": ({"images": colours().transpose(0, 3, 1, 2)}, "images of shape"),
    "float with channels last": ({"images": colours() / 255}, "images of shape"),
    "four channels": ({"images": np.ones((2, 4, 4, 4), np.uint8)}, "images of shape"),
    "NaN": ({"images": np.full((2, 1, 2, 2), np.nan)}, "NaN, infinity or values beyond"),
    "infinity": ({"images": np.full((2, 1, 2, 2), np.inf)}, "NaN, infinity or values beyond"),
    "beyond float32": ({"images": np.full((2, 1, 2, 2), 1e300)}, "NaN, infinity or values beyond"),
    "too bright": ({"images": np.full((2, 1, 2, 2), 255.0)}, "values 255..255 outside the range"),
    "too dark": ({"images": np.full((2, 1, 2, 2), -0.5)}, "values -0.5..-0.5 outside the range"),
    "fewer labels": ({"images": colours(), "labels": LABELS[:5]}, "12 images but 5 labels"),
    "float labels": ({"images": colours(), "labels": LABELS / 1}, "labels of shape"),
    "one-hot labels": ({"images": colours(), "labels": np.eye(12, dtype=int)}, "labels of shape"),
    "negative label": ({"images": colours(), "labels": LABELS - 1}, "label is out of range"),
    "huge label": ({"images": colours(), "labels": (LABELS.astype(np.uint64) + 2**63)}, "label is out of range"),
    "text labels": ({"images": colours(), "labels": LABELS.astype(str)}, "holds no numbers"),
}


@pytest.mark.parametrize("case", ARRAYS, ids=str)
def test_wrong_arrays(case: str, tmp_path: Path) -> None:
    arrays, message = ARRAYS[case]
    assert re.search(message, fault(npz(tmp_path, **arrays)).what)


def test_a_wrong_shape_is_told_as_it_is_stored(tmp_path: Path) -> None:
    assert (
        "images of shape (2, 1, 4, 5) and type uint8" in fault(npz(tmp_path, images=np.zeros((2, 1, 4, 5), "u1"))).what
    )


def test_data_against_the_policy(tmp_path: Path) -> None:
    path = npz(tmp_path, images=colours(), labels=LABELS)
    assert "images of shape (3, 4, 5), the policy says (1, 4, 5)" in fault(path, shape=(1, 4, 5)).what
    assert "label 2 is out of range" in fault(path, num_classes=2).what
    assert len(read(path, shape=(3, 4, 5), num_classes=3).images) == 12


def member(shape: str, data: bytes = b"", dtype: str = "|u1") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


LARGER = "array 'images.npy' is larger than its data"
DAMAGED = "not a readable npz file"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (member("(1000000, 1000, 1000, 3)"), LARGER),
        (member("(2, 2, 2, 1)", b"1"), DAMAGED),
        (member("(-1, 2, 2, 1)"), DAMAGED),
        (member("(2, 2, 2, 1)", bytes(64), "|O"), "array 'images' holds no numbers"),
        (member("(__import__('os'),)"), DAMAGED),
        (member("()" + "+()" * 20_000), DAMAGED),
        (b"\x93NUMPY\x09\x00", DAMAGED),
        (b"", DAMAGED),
        (b"not an array", DAMAGED),
    ],
)
def test_forged_arrays(images: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "clean.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", images)
    assert fault(path).what.startswith(message)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    assert fault(tmp_path / "nowhere.npz").what == "no such file or folder"
    path = tmp_path / "clean.npz"
    path.write_bytes(b"PK but no zip")
    assert fault(path).what == "not a readable npz file"


def small_file() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=colours(4), labels=LABELS[:4])
    return buffer.getvalue()


SOUND = small_file()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.binary(max_size=6)), min_size=1, max_size=3))
def test_damage_is_a_usage_error_or_harmless(changes: list[tuple[int, bytes]]) -> None:
    data = SOUND
    for at, value in changes:
        data = data[:at] + value + data[at + len(value) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clean.npz")
        path.write_bytes(data)
        with contextlib.suppress(UsageError):
            read(path)


# ---------------------------------------------------------------------------------------------------- image trees


def tree(root: Path, names: tuple[str, ...], count: int = 3, mode: str = "RGB", ending: str = "png") -> Path:
    for label, name in enumerate(names):
        (root / "images" / name).mkdir(parents=True)
        for index in range(count):
            colour = (label * 40 + index) if mode == "L" else (label * 40 + index,) * 3
            Image.new(mode, (5, 4), colour).save(root / "images" / name / f"{index}.{ending}")
    return root / "images"


def test_a_tree_of_images(tmp_path: Path) -> None:
    root = tree(tmp_path, ("cat", "ant", "bee"))
    (root / "ant" / "notes.txt").write_text("x")
    (root / ".hidden").mkdir()
    found = read(root, num_classes=3)
    assert found.images.shape == (9, 3, 4, 5)
    assert found.labels is not None
    # ant, bee, cat by name; painted 40, 80 and 0 at least.
    assert (found.images[:, 0, 0, 0] * 255).round().tolist() == [40, 41, 42, 80, 81, 82, 0, 1, 2]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(read(root, count=3).images) == 3


def test_numbers_sort_as_numbers(tmp_path: Path) -> None:
    root = tree(tmp_path, tuple(map(str, range(11))), count=1, mode="L", ending="pgm")
    found = read(root)
    assert (found.images[:, 0, 0, 0] * 255).round().tolist() == [label * 40 % 256 for label in range(11)] or (
        found.labels is not None and found.labels.tolist() == list(range(11))
    )
    assert found.images.shape == (11, 1, 4, 5)


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "L")])
def test_the_policys_channels_convert(channels: int, mode: str, tmp_path: Path) -> None:
    found = read(tree(tmp_path, ("a", "b"), mode=mode, ending="jpg"), shape=(channels, 4, 5))
    assert found.images.shape == (6, channels, 4, 5)


def test_wrong_trees(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert fault(tmp_path / "empty").what == "class folders: 0"
    root = tree(tmp_path, ("0", "1", "2"))
    Image.new("RGB", (6, 4)).save(root / "2" / "0.png")
    assert "image of shape (4, 6, 3), the others are (4, 5, 3)" in fault(root).what
    (root / "2" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert fault(root).what == "not a readable image"
    for path in (root / "2").iterdir():
        path.unlink()
    assert fault(root).what == "class folder without images"
    (root / "2").rename(root / "3")
    assert "class folders do not follow each other: 0, 1, 3" in fault(root).what


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path) -> None:
    root = tree(tmp_path, ("a", "b"), count=1)
    Image.new("1", (20_000, 20_000)).save(root / "a" / "0.png")
    assert fault(root).what.startswith(("image of 20000 x 20000 pixels", "not a readable image"))
    Image.new("1", (5000, 5000)).save(root / "a" / "0.png")
    assert fault(root).what == "image of 5000 x 5000 pixels"


@pytest.mark.parametrize(("classes", "taken"), [(2, 500), (60, 600), (300, 2000)])
def test_where_nobody_says_how_many_there_are_ten_of_each_class_but_no_flood(
    classes: int, taken: int, tmp_path: Path
) -> None:
    labels = np.arange(3000) % classes
    found = read(npz(tmp_path, images=np.zeros((3000, 4, 4), dtype=np.uint8), labels=labels), count=None)
    assert found.labels is not None
    assert len(found.labels) == taken
    counts = found.labels.bincount(minlength=classes)
    if taken >= 10 * classes:
        assert int(counts.min()) == taken // classes
    else:  # no room for ten of each: ten of so many as a search by pairs starts from, and some of every other one
        assert int((counts == 10).sum()) == 100
        assert int(counts.min()) == (taken - 1000) // (classes - 100)


def test_without_labels_nobody_knows_the_classes(tmp_path: Path) -> None:
    found = read(npz(tmp_path, images=np.zeros((900, 4, 4), dtype=np.uint8)), count=None)
    assert len(found.images) == 500
