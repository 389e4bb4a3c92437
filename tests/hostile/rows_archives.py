"""Inputs 26 to 45: pickles, archives and files that are none."""

from __future__ import annotations

import bz2
import code as interpreter
import gzip
import lzma
import pickle
import struct
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch
from support.forging import (
    Payload,
    exported,
    legacy,
    members,
    patched,
    pickled,
    saved,
    state_archive,
    with_program,
    zipped,
)
from support.small_networks import SHAPE, Plain
from table import MLMODEL, REFUSED, UNMEASURED, Bench, Row, weights
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

GLOBAL = "pickle has a global outside the allow-list: "
SYSTEM = f"{GLOBAL}posix.system"
SOUND = {"w": torch.arange(4.0)}
INCONSISTENT = "archive inconsistent"


def memoised(bench: Bench) -> bytes:
    """The global's two names come from the memo."""
    command = str(bench.payload.call[1][0]).encode()
    names = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x94"
    return state_archive(names + b"\x8c" + bytes([len(command)]) + command + b"\x85R.")


def nested(bench: Bench) -> bytes:
    return state_archive(pickled(Payload(torch.storage._load_from_bytes, saved(bench.payload))))


def twice() -> bytes:
    files = list(members(saved(SOUND)).items())
    with warnings.catch_warnings(action="ignore"):
        return zipped([*files, files[0]])


def encrypted() -> bytes:
    data = zipped(members(saved(SOUND)))
    data = patched(data, data.index(b"PK\x01\x02") + 8, b"\x01\x00")
    return patched(data, data.index(b"PK\x03\x04") + 6, b"\x01\x00")


def two_names() -> bytes:
    return saved(SOUND).replace(b"archive/byteorder", b"archive/byteordex", 1)


def overlapping() -> bytes:
    """The second entry points to the first member's header."""
    data = saved(SOUND)
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    return patched(data, second + 42, bytes(4))


def zip64() -> bytes:
    data = saved(SOUND)
    return patched(data, data.index(b"PK\x06\x06") + 32, struct.pack("<Q", 3))


def scripted(bench: Bench) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(nn.Linear(2, 2)).save(str(bench.candidate / "model.pt"))


def mlflow_pickle(bench: Bench) -> None:
    bench.put("MLmodel", MLMODEL)
    bench.put("data/pickle_module_info.txt", "mlflow.pytorch.pickle_module")
    bench.put("data/model.pth", saved({"w": bench.payload}))


def with_guard(program: dict[str, Any]) -> None:
    program.update(guards_code=["__import__('os').system('touch payload-ran')"])


def with_operator(program: dict[str, Any]) -> None:
    for node in program["graph_module"]["graph"]["nodes"]:
        node["target"] = "torch.ops.aten.set_.source_Storage"


def with_shared_object(bench: Bench) -> bytes:
    assert bench.folder
    return zipped({**members(exported(Plain())), "archive/data/aotinductor/model.so": b"\x7fELF"})


def row(number: int, what: str, words: str, data: bytes | Callable[[Bench], bytes], name: str = "model.pth") -> Row:
    return Row(number, what, REFUSED, words, weights(name, data))


def unmeasured(number: int, what: str, words: str, make: Callable[[], bytes]) -> Row:
    def put(bench: Bench) -> None:
        bench.policy["model"]["input"]["shape"] = list(SHAPE)
        bench.put("model.pt2", make())

    return Row(number, what, UNMEASURED, words, put)


class Counting(Plain):
    """Another network for one image than for many."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return super().forward(x) * x.shape[0]


class Comparing(Plain):
    """Another network where a pixel is bright, which no gradient tells."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return super().forward(x) + (x[:, :1, 0, 0] > 0.9).float()


TYPE = "content does not match its type"
ROWS = (
    Row(26, "zip", REFUSED, SYSTEM, weights("model.pth", lambda b: saved({"w": b.payload})), own_process=True),
    Row(26, "MLflow's own pickle", REFUSED, "pickled module or TorchScript: executable; not allowed", mlflow_pickle),
    row(27, "legacy file", SYSTEM, lambda b: legacy({"w": b.payload})),
    row(28, "payload before damage", SYSTEM, lambda b: state_archive(pickled(b.payload)[:-1] + b"\xff\xff")),
    row(29, "result popped", SYSTEM, lambda b: state_archive(pickle.dumps(b.payload, 2)[:-1] + b"0}.")),
    row(30, "name from the memo", SYSTEM, memoised),
    row(31, "pickle in a pickle", f"{GLOBAL}torch.storage._load_from_bytes", nested),
    row(32, "uncommon library", f"{GLOBAL}code.interact", saved({"w": Payload(interpreter.interact, "x")})),
    *(row(33, f"pickle as {end}", TYPE, pickled({}), f"model.{end}") for end in ("json", "txt", "safetensors")),
    row(34, "gzip", "compressed pickle", gzip.compress(pickled({}))),
    row(34, "bzip2", "compressed pickle", bz2.compress(pickled({}))),
    row(34, "xz", "compressed pickle", lzma.compress(pickled({}))),
    row(35, "wrong checksum", INCONSISTENT, saved(SOUND).replace(b"little", b"littlf")),
    row(35, "two names", INCONSISTENT, two_names()),
    row(35, "encrypted", INCONSISTENT, encrypted()),
    row(36, "member twice", "duplicate archive member", twice()),
    row(
        37,
        "zip bomb",
        "compressed archive member",
        lambda _: zipped({"archive/data.pkl": bytes(10**8)}, zipfile.ZIP_DEFLATED),
    ),
    row(38, "overlapping members", INCONSISTENT, overlapping()),
    row(38, "zip64 lie", INCONSISTENT, zip64()),
    row(38, "bytes in front", INCONSISTENT, b"#!/bin/sh\n" + saved(SOUND)),
    Row(39, "TorchScript", REFUSED, "TorchScript is executable; not allowed", scripted),
    Row(
        40,
        "TorchScript without end",
        UNMEASURED,
        "timed out after",
        covered_by=("tests/hostile/test_unsafe_formats.py::test_a_script_without_end_is_stopped",),
    ),
    row(41, "pt2 guard", "pt2", lambda _: with_program(exported(Plain()), with_guard), "model.pt2"),
    row(41, "pt2 operator", "pt2", lambda _: with_program(exported(Plain()), with_operator), "model.pt2"),
    row(41, "pt2 shared object", "pt2", with_shared_object, "model.pt2"),
    unmeasured(41, "pt2 in training mode", "exported in training mode", lambda: exported(Plain().train())),
    unmeasured(41, "pt2 that counts its images", "or on how many there are", lambda: exported(Counting().eval())),
    unmeasured(41, "pt2 that compares what it sees", "decides by comparing", lambda: exported(Comparing().eval())),
    Row(
        41,
        "pt2, every other rule",
        REFUSED,
        "pt2",
        covered_by=(
            "tests/scan/loading/test_pt2_hostile.py::test_a_program_outside_the_list_is_refused",
            "tests/scan/loading/test_pt2_hostile.py::test_a_package_outside_the_list_is_refused",
        ),
    ),
    row(42, "truncated", "truncated or not a PyTorch file", saved(SOUND)[:700]),
    row(43, "empty file", "truncated or not a PyTorch file", b""),
    row(
        44,
        "git-lfs pointer",
        "git-lfs pointer, not weights",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    ),
    row(45, "web page", "not a PyTorch file", b"<!DOCTYPE html><html>404</html>"),
)
