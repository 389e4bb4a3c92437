"""What an npz file of clean images holds, told from its headers: without a tensor library, so that it is told at once.

A file that this cannot read is not called wrong here: the scan reads it whole, and says what is the matter with it.
"""

from __future__ import annotations

import ast
import zipfile
from array import array
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Shape = tuple[int, int, int]

CHANNELS = (1, 3)
FORM = "store uint8 (N, H, W, C) or float (N, C, H, W), with 1 or 3 channels"
"""What to do about an array that holds no images."""

_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000
_MOST_LABELS = 1_000_000
_WHOLE = {"1": "bB", "2": "hH", "4": "iI", "8": "qQ"}
"""Letters of the array module for signed and unsigned whole numbers, by their bytes."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Shape and type of a stored array; the type in numpy's letters without the usual byte order, such as `u1`."""

    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class StoredSet:
    """What an npz file holds: None for an array that is not there, the largest label where it could be read."""

    images: StoredArray | None
    labels: StoredArray | None
    largest_label: int | None


def image_shape(stored: tuple[int, ...], kind: str) -> Shape | None:
    """Return (C, H, W) of one image of an array of them; None where it is no array of images.

    Args:
        stored: (N, H, W, C) of bytes, (N, C, H, W) of others, or (N, H, W).
        kind: the array's type, `u1` for bytes.
    """
    if len(stored) == 3:
        return 1, stored[1], stored[2]
    if len(stored) != 4:
        return None
    _, first, second, third = stored
    channels, height, width = (third, first, second) if kind == "u1" else (first, second, third)
    return (channels, height, width) if channels in CHANNELS else None


def shape_hint(declared: Shape, found: Shape) -> str:
    """Return what to do where the policy declares another shape of the images than they have."""
    height, width, channels = declared
    if (channels, height, width) == found:
        return f"channels come first: write model.input.shape as {list(found)}"
    return "make data and model.input.shape agree: images are not resized"


def stored_set(path: Path) -> StoredSet | None:
    """Return what an npz file holds; None where it is none that can be read."""
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
            images, labels = (
                _header_of(file, name) if name in names else None for name in ("images.npy", "labels.npy")
            )
            return StoredSet(images, labels, _largest(file, labels) if labels else None)
    except Exception:  # each way to decompress has errors of its own, and a header may hold values of any type
        return None


def _header_of(file: zipfile.ZipFile, name: str) -> StoredArray:
    with file.open(name) as member:
        return _header(member)


def _header(member: IO[bytes]) -> StoredArray:
    """Read an npy header: magic, version, length, a Python dictionary."""
    if member.read(6) != _MAGIC:
        raise ValueError("no npy file")
    major = member.read(2)[0]
    length = int.from_bytes(member.read(2 if major == 1 else 4), "little")
    if length > _MOST_HEADER:
        raise ValueError("header too long")
    told = ast.literal_eval(member.read(length).decode("latin-1"))
    return StoredArray(tuple(int(size) for size in told["shape"]), told["descr"].lstrip("<|="))


def _largest(file: zipfile.ZipFile, labels: StoredArray) -> int | None:
    """Return the largest label of an array of whole numbers in this machine's usual order; None for any other."""
    kind, size = labels.kind[:1], labels.kind[1:]
    if kind not in "iu" or size not in _WHOLE or not 0 < prod(labels.shape) <= _MOST_LABELS:
        return None
    with file.open("labels.npy") as member:
        _header(member)
        values = array(_WHOLE[size][kind == "u"], member.read(prod(labels.shape) * int(size)))
    return max(values)
