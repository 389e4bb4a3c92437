"""Zip archives of a candidate, read strictly: what one reader sees in them, every reader sees.

PyTorch's own reader accepts a wrong checksum, a member whose two headers disagree, and bytes that belong to no
member. Here the members must cover the file exactly, stored as they are, each named once.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.naming import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_MEMBERS = 100_000
MAX_NAME_BYTES = 512
SAVED = re.compile(r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d+")
"""Members of what `torch.save` writes, below its root."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_DESCRIPTOR = struct.Struct("<4s3L")
_HAS_DESCRIPTOR, _UTF8 = 0x0008, 0x0800
_IN_ZIP64 = 0xFFFFFFFF
_PADDING = b"FB"
"""Tag of the extra field with which PyTorch aligns a member's data."""


@dataclass(frozen=True, slots=True)
class Member:
    """One stored member: its name, and where its bytes lie in the archive."""

    name: str
    header: int
    size: int
    crc: int
    flags: int
    start: int = 0


class Archive:
    """A checked archive. Keeps the file mapped, and copies a member's bytes only when asked.

    Args:
        data: the whole file.
        where: its name for messages.

    Raises:
        RefusedError: the archive is not exactly a sequence of stored, well-named, intact members.
    """

    def __init__(self, data: memoryview, where: str) -> None:
        self._data = data
        self._where = where
        first, last, count = self._end()
        self._members = {m.name: m for m in self._walk(list(self._central(first, last, count)), first)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in the order of the file."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Return the size of a member in bytes."""
        return self._members[name].size

    def read(self, name: str) -> bytes:
        """Return a member's bytes."""
        member = self._members[name]
        return bytes(self._data[member.start : member.start + member.size])

    def _refuse(self, rule: str) -> NoReturn:
        hint = "save the model again with torch.save or torch.export.save"
        raise RefusedError(f"archive inconsistent: {rule}", where=self._where, hint=hint)

    def _end(self) -> tuple[int, int, int]:
        """Return where the central directory starts and ends, and how many entries it has."""
        data, size = self._data, len(self._data)
        at = size - _END.size
        if at < 0 or bytes(data[at : at + 4]) != b"PK\x05\x06":
            if bytes(data[max(0, size - 66_000) :]).rfind(b"PK\x05\x06") >= 0:
                self._refuse("bytes after its end")
            hint = "upload the file again"
            raise RefusedError("truncated or not a PyTorch file", where=self._where, hint=hint)
        _, disk, first_disk, here, count, length, offset, comment = _END.unpack(data[at:])
        if disk or first_disk or here != count or comment:
            self._refuse("its end record")
        last = self._end64(at, count, length, offset)
        if offset + length != last or count > MAX_MEMBERS:
            self._refuse("its central directory is not where the end record says")
        return offset, last, count

    def _end64(self, end: int, count: int, length: int, offset: int) -> int:
        """Check the zip64 end record, which PyTorch always writes; return where the directory ends."""
        at = end - _LOCATOR.size
        if at < 0 or bytes(self._data[at : at + 4]) != b"PK\x06\x07":
            return end
        _, disk, start, disks = _LOCATOR.unpack(self._data[at:end])
        if disk or disks != 1 or start + _END64.size != at:
            self._refuse("its zip64 locator")
        tag, rest, _, _, disk, first_disk, here, count64, length64, offset64 = _END64.unpack(self._data[start:at])
        if tag != b"PK\x06\x06" or rest != _END64.size - 12 or disk or first_disk or here != count64:
            self._refuse("its zip64 end record")
        if (count64, length64, offset64) != (count, length, offset):
            self._refuse("its two end records differ")
        return int(start)

    def _central(self, first: int, last: int, count: int) -> Iterator[Member]:
        """Yield the entries of the central directory, which must fill it exactly."""
        seen: set[str] = set()
        at = first
        for _ in range(count):
            if at + _CENTRAL.size > last:
                self._refuse("its central directory is cut short")
            entry = _CENTRAL.unpack(self._data[at : at + _CENTRAL.size])
            tag, _, _, flags, method, _, _, crc, packed, size, named, extra, comment, disk, _, _, header = entry
            name = self._name(bytes(self._data[at + _CENTRAL.size : at + _CENTRAL.size + named]), named)
            if method:
                raise RefusedError(f"compressed archive member: {shown(name)}", where=self._where)
            if tag != b"PK\x01\x02" or flags & ~(_HAS_DESCRIPTOR | _UTF8) or packed != size or disk or extra or comment:
                self._refuse(f"central header of {shown(name)}")
            if _IN_ZIP64 in (size, header):
                self._refuse("member beyond 4 GiB")
            if name.casefold() in seen:
                raise RefusedError(f"duplicate archive member: {shown(name)}", where=self._where)
            seen.add(name.casefold())
            yield Member(name, header, size, crc, flags)
            at += _CENTRAL.size + named
        if at != last:
            self._refuse("its central directory holds more than its entries")

    def _name(self, raw: bytes, length: int) -> str:
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            self._refuse("member name is not UTF-8")
        parts = name.split("/")
        if ".." in parts or name.startswith("/") or "\\" in name:
            raise RefusedError(f"archive member leaves root: {shown(name)}", where=self._where)
        if not name or len(raw) != length or length > MAX_NAME_BYTES or not name.isprintable() or "" in parts:
            self._refuse(f"member name {shown(name)!r}")
        return name

    def _walk(self, members: list[Member], end: int) -> Iterator[Member]:
        """Yield the members with their data located; they must follow each other from byte 0 to the directory."""
        at = 0
        for member in sorted(members, key=lambda m: m.header):
            start = self._local(member, at)
            stop = start + member.size
            if stop > end or zlib.crc32(self._data[start:stop]) != member.crc:
                self._refuse(f"content of {shown(member.name)}")
            at = stop + self._descriptor(member, stop)
            yield Member(member.name, member.header, member.size, member.crc, member.flags, start)
        if at != end:
            self._refuse("bytes that belong to no member")

    def _local(self, member: Member, at: int) -> int:
        """Check the local header of a member, expected at byte `at`; return where its data start."""
        name, raw = at + _LOCAL.size, member.name.encode()
        if member.header != at or name > len(self._data):
            self._refuse(f"place of {shown(member.name)}")
        tag, _, flags, method, _, _, crc, packed, size, named, extra = _LOCAL.unpack(self._data[at:name])
        told = (crc, packed, size)
        legal = {(member.crc, member.size, member.size)} | ({(0, 0, 0)} if flags & _HAS_DESCRIPTOR else set())
        padding = bytes(self._data[name + named : name + named + extra])
        if tag != b"PK\x03\x04" or method or flags != member.flags or told not in legal:
            self._refuse(f"local header of {shown(member.name)}")
        if bytes(self._data[name : name + named]) != raw or (extra and not padding.startswith(_PADDING)):
            self._refuse(f"local name of {shown(member.name)}")
        return int(name + named + extra)

    def _descriptor(self, member: Member, at: int) -> int:
        """Check the descriptor after a member's data; return its length."""
        if not member.flags & _HAS_DESCRIPTOR:
            return 0
        expected = _DESCRIPTOR.pack(b"PK\x07\x08", member.crc, member.size, member.size)
        if bytes(self._data[at : at + _DESCRIPTOR.size]) != expected:
            self._refuse(f"descriptor of {shown(member.name)}")
        return _DESCRIPTOR.size


def open_archive(path: Path, where: str) -> Archive:
    """Map the zip archive at `path` and check it.

    Args:
        path: a non-empty regular file.
        where: its name for messages.

    Raises:
        RefusedError: truncated, compressed, inconsistent, or with an unsafe or repeated member name.
    """
    with path.open("rb") as file:
        return Archive(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), where)
