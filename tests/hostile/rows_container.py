"""Inputs 1 to 25: folders, names, links and MLmodel files."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from support.forging import pickled, zipped
from table import MLMODEL, REFUSED, Bench, Row, weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
ALIASES = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
DUPLICATE = MLMODEL + "flavors: {}\n"
MANY = 10_001
SOUND = save({"1.weight": torch.ones(10, 64), "1.bias": torch.ones(10)})


def mlmodel(text: str | bytes) -> Callable[[Bench], None]:
    return lambda bench: bench.put("MLmodel", text)


def changed(old: str, new: str) -> Callable[[Bench], None]:
    assert old in MLMODEL
    return mlmodel(MLMODEL.replace(old, new))


def named(*names: str | bytes) -> Callable[[Bench], None]:
    """Return what makes empty files of these names, as far as the file system takes them."""

    def make(bench: Bench) -> None:
        for name in names:
            raw = os.fsencode(bench.candidate) + b"/" + (name if isinstance(name, bytes) else name.encode())
            os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))

    return make


def linked(target: str) -> Callable[[Bench], None]:
    return lambda bench: (bench.candidate / "model.pth").symlink_to(target)


def hard_link(bench: Bench) -> None:
    (bench.folder / "secret").write_text("secret")
    (bench.candidate / "model.pth").hardlink_to(bench.folder / "secret")


def bound(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        bench.patch.chdir(bench.candidate)  # its path may be long
        one.bind("model.pth")
        bench.patch.chdir(bench.folder)


def sparse(size: int) -> Callable[[Bench], None]:
    def make(bench: Bench) -> None:
        bench.put("model.safetensors", b"")
        os.truncate(bench.candidate / "model.safetensors", size)

    return make


def tiny_files(bench: Bench) -> None:
    for index in range(MANY):
        os.close(os.open(bench.candidate / str(index), os.O_CREAT | os.O_WRONLY))


def deep(bench: Bench) -> None:
    path: Path = bench.candidate
    for _ in range(200):
        path = path / "d"
        path.mkdir()


def three_formats(bench: Bench) -> None:
    bench.put("MLmodel", MLMODEL)
    for name in ("model.pth", "model.pt2", "model.safetensors"):
        bench.put(f"data/{name}", b"PK")


def other_pickle_module(bench: Bench) -> None:
    bench.put("MLmodel", MLMODEL)
    bench.put("data/pickle_module_info.txt", "dill")


def decoy(text: str, hidden: str, measured: str = "model.safetensors") -> Callable[[Bench], None]:
    """Return what puts sound weights beside a pickle that begins like none, and has an MLmodel file name the latter."""

    def make(bench: Bench) -> None:
        if text:
            bench.put("MLmodel", text)
        bench.put(hidden, pickled(bench.payload, protocol=0))
        bench.put(measured, SOUND)

    return make


def both(data: str) -> str:
    return MLMODEL.replace("data: data", f"data: {data}")


def row(number: int, what: str, words: str, make: Callable[[Bench], object], *, own_process: bool = False) -> Row:
    return Row(number, what, REFUSED, words, make, own_process=own_process)


NOT_A_FILE = "not a regular file: model.pth"
BAD_NAME = "file name not allowed"
CODE = "candidate ships code (code_paths); not allowed by policy"
LEAVES = "MLmodel: path leaves the model directory"
ROWS = (
    row(1, "empty folder", "candidate has no files", lambda _: None),
    row(2, "no weights", "no model found", weights("README.md", b"# A model")),
    row(3, "MLmodel empty", "MLmodel: empty or not a mapping", mlmodel("")),
    row(4, "MLmodel a list", "MLmodel: empty or not a mapping", mlmodel("- a\n")),
    row(5, "MLmodel with NUL", "MLmodel: not UTF-8 YAML", mlmodel("flavors:\0")),
    row(5, "MLmodel binary", "MLmodel: not UTF-8 YAML", mlmodel(b"\xff\xfe\0\1")),
    row(6, "MLmodel with a tag", "MLmodel: YAML tag refused", mlmodel("a: !!python/object/apply:os.getcwd []\n")),
    row(7, "MLmodel alias bomb", "MLmodel: YAML aliases not allowed", mlmodel(ALIASES)),
    row(8, "MLmodel large", "MLmodel larger than 1 MiB", mlmodel(MLMODEL + "#" * 2 * MIB)),
    row(9, "MLmodel key twice", "MLmodel: duplicate key", mlmodel(DUPLICATE)),
    row(10, "path upwards", LEAVES, changed("model_data: data", "model_data: ../../../../tmp")),
    row(11, "path absolute", LEAVES, changed("model_data: data", "model_data: /tmp")),
    row(10, "path to a file", "'model_data' is data/blob, which is no folder", decoy(both("data/blob"), "data/blob")),
    row(
        10,
        "two paths",
        "'data' is data and 'model_data' is other: not one folder of weights",
        decoy(MLMODEL.replace("model_data: data", "model_data: other"), "other/blob", "data/model.safetensors"),
    ),
    row(12, "code", CODE, changed("code: null", "code: code")),
    row(13, "other loader", "flavor not supported", changed("loader_module: mlflow.pytorch", "loader_module: evil")),
    row(13, "other flavor", "flavor not supported (sklearn)", mlmodel("flavors: {sklearn: {}}")),
    row(
        13,
        "one flavor more",
        "flavor not supported (sklearn)",
        decoy(f"{MLMODEL}  sklearn: {{pickled_model: blob}}\n", "blob", "data/model.safetensors"),
    ),
    row(14, "models from code", "candidate is Python source", mlmodel("model_code_path: m.py\n" + MLMODEL)),
    row(15, "other pickle module", "custom pickle module", other_pickle_module),
    row(16, "link to a secret", NOT_A_FILE, linked("/etc/passwd")),
    row(16, "link upwards", NOT_A_FILE, linked("..")),
    row(17, "hard link", NOT_A_FILE, hard_link),
    row(18, "pipe", NOT_A_FILE, lambda bench: os.mkfifo(bench.candidate / "model.pth")),
    row(18, "socket", NOT_A_FILE, bound),
    row(19, "archive upwards", "archive member leaves root", weights("model.pth", zipped({"a/../../x": b"1"}))),
    row(20, "newline in a name", BAD_NAME, named("a\nb")),
    row(20, "escape in a name", BAD_NAME, named("\x1b[2Jx")),
    row(20, "command in a name", BAD_NAME, named("::error::x")),
    row(20, "right to left name", BAD_NAME, named("\u202egpj.exe")),
    row(20, "name not UTF-8", BAD_NAME, named(b"\xff\xfe")),
    row(20, "long name", BAD_NAME, named("x" * 255)),
    row(20, "names that collide", BAD_NAME, named("Model", "model")),
    row(21, "many files", "more than 10000 files", tiny_files),
    row(22, "huge file", "larger than the byte limit", sparse(1 << 40)),
    Row(
        22,
        "endless download",
        REFUSED,
        "larger than the byte limit",
        covered_by=("tests/sources/test_registry_failures.py::test_an_endless_download_stops_at_the_limit",),
    ),
    row(23, "deep folder", "path too deep", deep),
    row(24, "sparse file", "larger than the byte limit", sparse(40 * GIB)),
    row(
        25,
        "MLmodel in a sub-folder",
        "model/MLmodel: not an MLmodel file at the root of the candidate",
        lambda bench: (bench.put("model/MLmodel", MLMODEL), bench.put("model.safetensors", SOUND)),
    ),
    row(
        25,
        "weights outside the data folder",
        "model.safetensors: weights outside the folder that MLmodel names: data",
        decoy(MLMODEL, "data/blob"),
    ),
    row(
        25,
        "unknown file in the data folder",
        "data/blob: file of an unknown kind beside the weights",
        decoy(MLMODEL, "data/blob", "data/model.safetensors"),
    ),
    row(25, "unknown file", "blob: file of an unknown kind beside the weights", decoy("", "blob")),
    row(25, "three formats", "ambiguous weights: model.pth and model.pt2", three_formats),
    Row(
        25,
        "two weights files",
        REFUSED,
        "ambiguous weights",
        lambda bench: (bench.put("a.pth", b""), bench.put("b.safetensors", b"")),
    ),
)
