"""Clean images: an npz file or a class-per-folder image tree, checked, subsampled and scaled to the model's input.

The data are the pipeline's own, so a fault in them is a usage error; but they are read as carefully as any file.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from backdoor_gate.budgets import MOST_SEARCHED
from backdoor_gate.errors import UsageError
from backdoor_gate.stored_images import FORM, image_shape, shape_hint

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from backdoor_gate.records import Declared

MAX_ARRAY_BYTES = 4 << 30
"""Of one array in an npz file, once it is unpacked."""
MAX_PIXELS = 4096 * 4096
"""Of one image file."""
MOST_VALUE = 1e9
"""Of a stored float, either sign: beyond, float32 has no room left for a range to be shifted and scaled."""
USUAL_IMAGES, MOST_USUAL_IMAGES = 500, 2000
"""Images of a sample whose size nobody has set, of few classes and of many: 2,000 of 224×224 are 1.2 GB."""
OF_CLASS = 10
"""Images of each class in such a sample: five in either half, of which a search from that class needs three."""
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp"})
_DECODERS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, MemoryError, RuntimeError)
"""What a damaged npz file raises on the way."""
_TOLERANCE = 1e-5
"""By how much of the range a float image may leave it, for rounding."""


@dataclass(frozen=True, eq=False, slots=True)
class CleanImages:
    """A sample of clean images.

    Attributes:
        images: (N, C, H, W) float32 in the model's input range.
        labels: (N,) int64; None where the file has none.
    """

    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True, eq=False, slots=True)
class StoredImages:
    """A sample of clean images as they are stored.

    Attributes:
        images: (N, C, H, W) uint8 0..255, or finite floats in any range.
        labels: (N,) int64; None where the file has none.
        available: images there were before the sample was taken.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64] | None
    available: int


def load_clean(path: Path, declared: Declared, *, max_images: int | None, seed: int) -> CleanImages:
    """Read a stratified sample of clean images.

    Args:
        path: npz with `images` (uint8 (N, H, W, C), or float (N, C, H, W) within the range; without channels for grey)
            and optionally `labels` (N,); or a folder with one folder of image files per class. Class folders are
            sorted by name; numbers are sorted as numbers and must follow each other from 0 or 1.
        declared: range, shape and number of classes where the policy gives them; uint8 0..255 is scaled to the range.
        max_images: at most so many, evenly over the classes; None: enough of each class, see `usual_sample`.
        seed: decides which.

    Raises:
        UsageError: nothing there, unreadable, not numbers in the range, or not what the policy declares.
    """
    stored = read_clean(path, declared, max_images=max_images, seed=seed)
    scaled = _scaled(stored.images, declared.low, declared.high, path)
    tensor = torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))
    labels = None if stored.labels is None else torch.from_numpy(stored.labels)
    return CleanImages(tensor, labels)


def read_clean(path: Path, declared: Declared, *, max_images: int | None, seed: int) -> StoredImages:
    """Read a stratified sample of clean images as `load_clean` does, but leave their values as they are.

    Raises:
        UsageError: nothing there, unreadable, not numbers, or of another shape or more classes than is declared.
    """
    images: NDArray[Any]
    labels: NDArray[np.int64] | None
    try:
        if path.is_dir():
            images, labels, available = _read_tree(path, max_images, seed, declared.shape and declared.shape[0])
        else:
            images, labels, available = _read_npz(path, max_images, seed)
    except FileNotFoundError as error:
        raise _fault("no such file or folder", path) from error
    if declared.shape and images.shape[1:] != declared.shape:
        what = f"images of shape {images.shape[1:]}, the policy says {declared.shape}"
        raise _fault(what, path, shape_hint(declared.shape, images.shape[1:]))
    if labels is not None and declared.num_classes is not None and int(labels.max()) >= declared.num_classes:
        hint = f"the policy says {declared.num_classes} classes: number them from 0, or correct model.num_classes"
        raise _fault(f"label {int(labels.max())} is out of range", path, hint)
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise _fault(f"images of type {images.dtype}", path, "store uint8 or float images")
    if images.dtype.kind == "f" and not (np.isfinite(images).all() and float(np.abs(images).max()) <= MOST_VALUE):
        raise _fault(f"images hold NaN, infinity or values beyond {MOST_VALUE:g}", path)
    return StoredImages(images, labels, available)


def _fault(
    what: str, where: Path, hint: str = "see the documentation of data.clean for the accepted forms"
) -> UsageError:
    return UsageError(what, where=str(where), hint=hint)


def usual_sample(classes: int) -> int:
    """Return how many images of so many classes are taken where nobody says it: what the search by pairs needs."""
    return max(USUAL_IMAGES, min(OF_CLASS * classes, MOST_USUAL_IMAGES))


def _sample(labels: NDArray[np.int64] | None, count: int, wanted: int | None, seed: int) -> NDArray[np.int64]:
    """Return the sorted positions of at most `wanted` images, as evenly over the classes as they allow."""
    if wanted is None:
        wanted = usual_sample(0 if labels is None else len(np.unique(labels)))
    order = np.random.default_rng(seed).permutation(count)
    if labels is None:
        return np.sort(order[:wanted])
    classes = np.unique(labels)
    deep = _deep(classes, wanted, seed)
    ranks = np.empty(count, dtype=np.int64)
    for label in classes:
        members = order[labels[order] == label]
        ranks[members] = np.arange(len(members))
        if label in deep:
            ranks[members[:OF_CLASS]] = -1
    # The first of each class come before the second of any.
    return np.sort(order[np.argsort(ranks[order], kind="stable")][:wanted])


def _deep(classes: NDArray[np.int64], wanted: int, seed: int) -> set[int]:
    """Return the classes that a search by pairs is to start from, where there is no room for enough images of all."""
    if len(classes) <= MOST_SEARCHED or wanted >= OF_CLASS * len(classes):
        return set()
    drawn = np.random.default_rng(seed).choice(classes, MOST_SEARCHED, replace=False)
    return set(drawn.tolist())


# ---------------------------------------------------------------------------------------------------------- npz


def _read_npz(path: Path, wanted: int | None, seed: int) -> tuple[NDArray[Any], NDArray[np.int64] | None, int]:
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
            if "images.npy" not in names:
                raise _fault("no array 'images'", path, "write it with numpy.savez(path, images=…, labels=…)")
            images = _array(file, "images.npy", path)
            labels = _array(file, "labels.npy", path) if "labels.npy" in names else None
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise _fault("not a readable npz file", path, "write it with numpy.savez") from error
    images = _shaped(images, path)
    classes = None if labels is None else _labels(labels, len(images), path)
    chosen = _sample(classes, len(images), wanted, seed)
    return images[chosen], None if classes is None else classes[chosen], len(images)


def _array(file: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    """Return one array of an npz file, after its header has been held against the member's real size."""
    size = file.getinfo(name).file_size
    with file.open(name) as member:
        shape, dtype = _header(member)
    if dtype.kind in "OSU":
        numbers = "class numbers: labels.astype(numpy.int64)" if name.startswith("labels") else "uint8 or float images"
        raise _fault(f"array {name.removesuffix('.npy')!r} holds no numbers but {dtype}", path, f"store {numbers}")
    if size > MAX_ARRAY_BYTES or prod(shape) * dtype.itemsize > size:
        raise _fault(f"array {name!r} is larger than its data or than {MAX_ARRAY_BYTES >> 30} GiB", path)
    if dtype.kind not in "uif":
        raise _fault(f"array {name!r} holds no numbers but {dtype}", path)
    with file.open(name) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _header(member: BinaryIO | Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype


def _shaped(stored: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return images as (N, C, H, W)."""
    shape = image_shape(stored.shape, stored.dtype.str[1:])
    if shape is None:
        raise _fault(f"images of shape {stored.shape} and type {stored.dtype}", path, FORM)
    if stored.size == 0:
        raise _fault("no images", path)
    if stored.dtype == np.uint8 and stored.ndim == 4:
        return stored.transpose(0, 3, 1, 2)
    return stored.reshape(-1, *shape)


def _labels(labels: NDArray[Any], count: int, path: Path) -> NDArray[np.int64]:
    if labels.dtype.kind not in "ui" or labels.ndim != 1:
        raise _fault(f"labels of shape {labels.shape} and type {labels.dtype}", path, "store integers (N,)")
    if len(labels) != count:
        raise _fault(f"{count} images but {len(labels)} labels", path, "store one label for each image")
    if int(labels.min()) < 0 or int(labels.max()) > np.iinfo(np.int64).max:
        raise _fault("a label is out of range", path, "number the classes from 0")
    return labels.astype(np.int64)


def _scaled(images: NDArray[Any], low: float, high: float, path: Path) -> NDArray[Any]:
    if images.dtype == np.uint8:
        return images.astype(np.float32) * ((high - low) / 255) + low
    slack = _TOLERANCE * (high - low)
    if images.min() < low - slack or images.max() > high + slack:
        hint = "scale them, or set model.input.range; give normalisation as model.input.normalize"
        raise _fault(f"values {images.min():g}..{images.max():g} outside the range [{low:g}, {high:g}]", path, hint)
    return images.clip(low, high)


# --------------------------------------------------------------------------------------------------- image tree


def _read_tree(
    root: Path, wanted: int | None, seed: int, channels: int | None
) -> tuple[NDArray[Any], NDArray[np.int64], int]:
    files: list[Path] = []
    classes: list[int] = []
    for index, folder in enumerate(_class_folders(root)):
        inside = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in _SUFFIXES)
        if not inside:
            raise _fault(
                "class folder without images", folder, f"expected files ending in {' '.join(sorted(_SUFFIXES))}"
            )
        files += inside
        classes += [index] * len(inside)
    labels = np.array(classes, dtype=np.int64)
    chosen = _sample(labels, len(files), wanted, seed)
    first = _decoded(files[chosen[0]], channels)
    images = np.empty((len(chosen), *first.shape), dtype=np.uint8)
    for position, index in enumerate(chosen):
        image = _decoded(files[index], channels)
        if image.shape != first.shape:
            what = f"image of shape {image.shape}, the others are {first.shape}"
            raise _fault(what, files[index], "resize the images to the model's input, and do not mix grey and colour")
        images[position] = image
    return images.transpose(0, 3, 1, 2), labels[chosen], len(files)


def _class_folders(root: Path) -> list[Path]:
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if len(folders) < 2:
        raise _fault(f"class folders: {len(folders)}", root, "make one folder of images per class")
    if not all(folder.name.isdecimal() for folder in folders):
        return sorted(folders, key=lambda folder: folder.name)
    folders.sort(key=lambda folder: int(folder.name))
    numbers = [int(folder.name) for folder in folders]
    if numbers[0] not in (0, 1) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        listed = ", ".join(map(str, numbers[:12]))
        raise _fault(f"class folders do not follow each other: {listed}", root, "number all classes from 0")
    return folders


def _decoded(path: Path, channels: int | None) -> NDArray[np.uint8]:
    """Return one image file as (H, W, C)."""
    from PIL import Image  # noqa: PLC0415 - needed for image trees alone

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_DECODERS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _fault(f"image of {image.width} x {image.height} pixels", path, "resize the images")
                grey = channels == 1 or (channels is None and image.mode in ("1", "L"))
                pixels = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, MemoryError, Warning, Image.DecompressionBombError) as error:
        raise _fault("not a readable image", path, "replace or remove the file") from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
