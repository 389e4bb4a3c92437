"""The strict zip reader, against archives with one thing wrong that PyTorch's or Python's reader would accept."""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from support.forging import FORMATS, exported, members, patched, saved, zipped
from support.small_networks import Plain

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading import load
from backdoor_gate.scan.loading.archive import open_archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATE = {"w": torch.arange(4.0)}
CENTRAL, LOCAL, END, END64 = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"


@pytest.mark.parametrize("data", [saved(STATE), zipped(members(saved(STATE)))], ids=["torch", "python"])
def test_sound_archives_read_alike(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    archive = open_archive(path, "model.pth")
    assert {name: archive.read(name) for name in archive.names} == members(data)
    assert archive.size("archive/data/0") == 16


def test_exported_programs_are_sound(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(exported(Plain()))
    assert "archive/models/model.json" in open_archive(path, "model.pt2").names


def at(data: bytes, sign: bytes, offset: int, value: bytes) -> bytes:
    return patched(data, data.index(sign) + offset, value)


def renamed(data: bytes) -> bytes:
    """The local header says another name than the central one."""
    return data.replace(b"archive/byteorder", b"archive/byteordex", 1)


def overlapped(data: bytes) -> bytes:
    """The second entry points to the first member's header."""
    second = data.index(CENTRAL, data.index(CENTRAL) + 1)
    return patched(data, second + 42, bytes(4))


def hidden(data: bytes) -> bytes:
    """A member that the directory does not list."""
    extra = zipped({"archive/x": b"1"})
    extra = extra[: extra.index(CENTRAL)]
    start, end = data.index(CENTRAL), data.index(END)
    return patched(data[:start] + extra + data[start:], end + len(extra) + 16, struct.pack("<I", start + len(extra)))


def encrypted(data: bytes) -> bytes:
    return at(at(data, CENTRAL, 8, b"\x01\x00"), LOCAL, 6, b"\x01\x00")


def duplicated(_: bytes) -> bytes:
    files = list(members(saved(STATE)).items())
    with pytest.warns(UserWarning, match="Duplicate"):
        return zipped([*files, files[0]])


def case_twin(_: bytes) -> bytes:
    return zipped([*members(saved(STATE)).items(), ("archive/DATA.pkl", b"")])


def with_name(name: str) -> Callable[[bytes], bytes]:
    return lambda _: zipped({**members(saved(STATE)), name: b"1"})


INCONSISTENT = "archive inconsistent"
TORCH: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "wrong checksum": (lambda data: at(data, CENTRAL, 16, b"\0\0\0\0"), INCONSISTENT),
    "changed byte": (lambda data: data.replace(b"little", b"littlf"), INCONSISTENT),
    "two names": (renamed, INCONSISTENT),
    "local size": (lambda data: at(data, LOCAL, 22, b"\x01\0\0\0"), INCONSISTENT),
    "descriptor": (lambda data: at(data, b"PK\x07\x08", 8, b"\x01\0\0\0"), INCONSISTENT),
    "prefix": (lambda data: b"#!/bin/sh\n" + data, INCONSISTENT),
    "suffix": (lambda data: data + b"\n", INCONSISTENT),
    "zip64 count": (lambda data: at(data, END64, 32, struct.pack("<Q", 3)), INCONSISTENT),
    "zip64 offset": (lambda data: at(data, END64, 48, struct.pack("<Q", 3)), INCONSISTENT),
    "zip64 disk": (lambda data: at(data, END64, 16, b"\1"), INCONSISTENT),
    "zip64 extended": (lambda data: at(data, END64, 4, struct.pack("<Q", 99)), INCONSISTENT),
    "comment": (lambda data: at(data, END, 20, b"\1\0") + b"x", INCONSISTENT),
    "count": (lambda data: at(data, END, 8, b"\1\0\1\0"), INCONSISTENT),
    "size of directory": (lambda data: at(data, END, 12, b"\1\0\0\0"), INCONSISTENT),
    "disk": (lambda data: at(data, END, 4, b"\1\0"), INCONSISTENT),
    "overlap": (overlapped, INCONSISTENT),
}
PLAIN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "encrypted": (encrypted, INCONSISTENT),
    "hidden member": (hidden, INCONSISTENT),
    "extra field": (lambda data: at(data, LOCAL, 28, b"\4\0"), INCONSISTENT),
    "beyond 4 GiB": (lambda data: at(at(data, CENTRAL, 20, b"\xff" * 8), LOCAL, 18, b"\xff" * 8), INCONSISTENT),
    "deflated": (lambda data: zipped(members(data), zipfile.ZIP_DEFLATED), "compressed archive member"),
    "bomb": (lambda _: zipped({"archive/data.pkl": bytes(10**7)}, zipfile.ZIP_DEFLATED), "compressed archive member"),
    "twice": (duplicated, "duplicate archive member: archive/data.pkl"),
    "twice but for case": (case_twin, "duplicate archive member: archive/DATA.pkl"),
    "upwards": (with_name("archive/../../x"), "archive member leaves root"),
    "absolute": (with_name("/etc/x"), "archive member leaves root"),
    "backslash": (with_name("archive\\x"), "archive member leaves root"),
    "folder": (with_name("archive/x/"), INCONSISTENT),
    "escape": (with_name("archive/\x1b[2J"), INCONSISTENT),
    "long name": (with_name("archive/" + "x" * 600), INCONSISTENT),
    "cut": (lambda data: data[:-30], "truncated or not a PyTorch file"),
}
CASES = {**TORCH, **PLAIN}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_inconsistent_archive_is_refused(case: str, root: Path) -> None:
    change, rule = CASES[case]
    sound = saved(STATE) if case in TORCH else zipped(members(saved(STATE)))
    data = change(sound)
    assert data != sound
    (root / "model.pth").write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        load(root, FORMATS, None, None)
    assert caught.value.what.startswith(rule), caught.value.what
    assert caught.value.where == "model.pth"
