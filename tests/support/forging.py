"""Makes candidates, sound and hostile. Payloads are harmless: at worst they would create a marker file."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import torch
from support.small_networks import SHAPE

from backdoor_gate.records import Architecture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

FORMATS = ("safetensors", "state_dict", "pt2")


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def exported(network: nn.Module, batch: int = 2, *, dynamic: bool = True, **options: Any) -> bytes:
    """Export as MLflow does: every free dimension of the signature is left to the exporter."""
    shapes = [{0: torch.export.Dim.AUTO}] if dynamic else None
    program = torch.export.export(network, (torch.rand(batch, *SHAPE),), dynamic_shapes=shapes, **options)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(content: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in content.items() if isinstance(content, dict) else content:
            file.writestr(name, data)
    return buffer.getvalue()


def state_archive(pickled: bytes, **records: bytes) -> bytes:
    """A PyTorch archive around any pickle."""
    return zipped({"archive/data.pkl": pickled, **{f"archive/data/{key[1:]}": data for key, data in records.items()}})


def with_program(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return an exported program whose JSON has been changed."""
    content = members(data)
    (name,) = (name for name in content if "/models/" in name)
    program = json.loads(content[name])
    change(program)
    return zipped({**content, name: json.dumps(program).encode()})


def safetensors_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(shape: list[int], first: int, last: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


class Payload:
    """An object whose unpickling calls `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Have the unpickler make the call."""
        return self.call


def touching(marker: Path) -> Payload:
    return Payload(os.system, f"touch {marker}")


def pickled(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)


def rebuilt(dtype: str, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, count: int = 1) -> bytes:
    """A pickled state_dict of one tensor `w` with any layout, in record 0."""

    def number(value: int) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\n" + f"{dtype}Storage\n".encode() + b"X\x01\0\0\x000X\x03\0\0\0cpu"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage[1:] + number(count) + b"tQ" + number(offset)
    tensor += numbers(sizes) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}X\x01\0\0\0w" + tensor + b"s."


def architecture(code: Path | None, target: str = "nets_of_ours:build", **kwargs: Any) -> Architecture:
    return Architecture(target, code, tuple(sorted(kwargs.items())), "sha256:" + "0" * 64)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def legacy(value: Any) -> bytes:
    """What torch.save wrote before zip archives: pickles in a row."""
    return saved(value, _use_new_zipfile_serialization=False)
