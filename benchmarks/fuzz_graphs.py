"""What is fuzzed by structure: exported graphs, and whether the gate measures what PyTorch runs.

A graph is JSON that names its operators, and a changed byte of it is refused, as a rule. So fields trade places with
their like, and numbers, names and operators are replaced: many such graphs are sound, and nobody's. Whatever the gate
takes is loaded as a deployment loads it, too, and both have to give the same outputs.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from torch import Tensor, nn

FORMATS = ("pt2",)
SHAPE = (1, 8, 8)
BATCHES = 1, 3, 4
"""Images that both are asked about at once."""
TOLERANCE = 1e-3
SLOW = 30.0
"""Seconds that one input may take: most of them are PyTorch's."""
NUMBERS = (0, 1, 2, 3, -1, 7, 100, 2**31, 2**63 - 1, 0.0, 0.5, -1.0, 1e-5, 1e30, "Infinity", "NaN")
_OVERLOADS = {
    "Tensor": ("add", "add_", "sub", "mul", "mul_", "div", "slice"),
    "Scalar": ("rsub",),
    "default": (
        "neg",
        "abs",
        "maximum",
        "minimum",
        "relu",
        "relu_",
        "sigmoid",
        "tanh",
        "gelu",
        "hardtanh",
        "clone",
        "detach",
        "contiguous",
        "alias",
        "copy_",
        "dropout",
        "dropout_",
        "lift_fresh_copy",
        "zeros_like",
        "ones_like",
        "view",
        "reshape",
        "expand",
        "unsqueeze",
        "t",
        "permute",
        "narrow",
        "conv2d",
        "convolution",
        "linear",
        "batch_norm",
        "max_pool2d",
        "avg_pool2d",
    ),
    "int": ("softmax", "log_softmax", "transpose", "select"),
    "dtype": ("to",),
    "using_ints": ("flatten",),
    "dim": ("squeeze", "mean"),
    "dim_IntList": ("sum",),
}
OPERATORS = tuple(f"torch.ops.aten.{name}.{overload}" for overload, names in _OVERLOADS.items() for name in names)
WITHIN = 0.75
"""Share of changes that are of a graph and its signature, not of what is written beside them."""

REARRANGED = 0.3
"""Share of changes to a list's item that are of its place."""

Way = tuple[str | int, ...]
"""The keys on the way to a field."""

Field = tuple[Way, Any]


class TwinsDifferError(AssertionError):
    """The gate would measure another network than the one that is deployed."""


@cache
def programs() -> tuple[dict[str, bytes], ...]:
    """Return the members of sound exported programs."""
    import torch  # noqa: PLC0415

    from benchmarks.fuzz_networks import NETWORKS  # noqa: PLC0415

    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = []
    for build in NETWORKS:
        network, buffer, free = build().eval(), io.BytesIO(), ({0: torch.export.Dim.AUTO},)
        for parameter in network.state_dict().values():
            parameter.copy_(parameter + torch.rand(parameter.shape))  # no two are alike, of a normalisation either
        torch.export.save(torch.export.export(network, (torch.rand(2, *SHAPE),), dynamic_shapes=free), buffer)
        with zipfile.ZipFile(buffer) as file:
            found.append({member: file.read(member) for member in file.namelist()})
    return tuple(found)


@cache
def graphs() -> list[bytes]:
    """Return the JSON of each, with its number: what is fuzzed."""
    return [
        json.dumps(
            {
                "program": number,
                "members": {name: json.loads(content) for name, content in members.items() if name.endswith(".json")},
            }
        ).encode()
        for number, members in enumerate(programs())
    ]


def feed(data: bytes) -> None:
    """Load a graph as the gate does and, where it takes it, as a deployment does.

    Raises:
        GateError: the gate refuses it.
        TwinsDifferError: both take it, and their outputs differ.
    """
    from backdoor_gate.scan.loading import load  # noqa: PLC0415

    archive = _archive(data)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.pt2").write_bytes(archive)
        model = load(Path(folder), FORMATS, None, None)
        if model.check is not None:
            model.check(SHAPE)
        _compare(model.network, archive)


def _archive(data: bytes) -> bytes:
    """Return the program whose JSON an input is; what is none is an empty archive."""
    try:
        document = json.loads(data)
        contents = programs()[document["program"]] | {
            name: json.dumps(member).encode() for name, member in document["members"].items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        contents = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _compare(network: nn.Module, archive: bytes) -> None:
    import torch  # noqa: PLC0415

    try:
        deployed = torch.export.load(io.BytesIO(archive)).module()
    except Exception:
        return
    generator = torch.Generator().manual_seed(0)
    for batch in BATCHES:
        images = torch.rand((batch, *SHAPE), generator=generator) * 4 - 1
        ours, theirs = _output(network, images), _output(deployed, images)
        if ours is None or theirs is None:
            continue
        same = ours.shape == theirs.shape and torch.allclose(ours, theirs, TOLERANCE, TOLERANCE, equal_nan=True)
        if not same:
            raise TwinsDifferError(f"another output than PyTorch's, for {batch} images")


def _output(network: nn.Module, images: Tensor) -> Tensor | None:
    """Return a network's output, or None where it cannot run."""
    import torch  # noqa: PLC0415

    try:
        with torch.no_grad():
            output: Tensor = network(images.clone())
    except Exception:
        return None
    return output


def change(data: bytes, rng: random.Random) -> bytes:
    """Return an input with one to three fields changed, most of them of the graph itself."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            document = json.loads(data)
            members = document["members"]
            within = next(member["graph_module"] for name, member in members.items() if "models/" in name)
            _change(within if rng.random() < WITHIN else members, rng)
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration):  # too far gone
            return rng.choice(graphs())
        data = json.dumps(document).encode()
    return data


def _change(document: Any, rng: random.Random) -> None:
    fields = list(_fields(document))
    path, value = rng.choice(fields)
    parent = _at(document, path[:-1])
    if isinstance(parent, list) and rng.random() < REARRANGED:
        _rearrange(parent, int(path[-1]), fields, rng)
    else:
        _replace(parent, path, value, fields, rng)


def _replace(parent: Any, path: Way, value: Any, fields: list[Field], rng: random.Random) -> None:
    """Put something else in a field's place, or drop it."""
    key = path[-1]
    alike = [other for place, other in fields if _alike(path, place) and type(other) is type(value) and other != value]
    if alike and rng.random() < 0.5:
        parent[key] = deepcopy(rng.choice(alike))
    elif isinstance(value, bool):
        parent[key] = not value
    elif isinstance(value, int | float):
        parent[key] = rng.choice((*NUMBERS, value + 1, value - 1))
    elif isinstance(value, str):
        names = [other for _, other in fields if isinstance(other, str)]
        parent[key] = rng.choice(OPERATORS if "torch.ops" in value else (*names, value + "_1", ""))
    elif isinstance(parent, dict) and rng.random() < 0.5:
        del parent[key]
    else:
        parent[key] = rng.choice((None, True, 0, 0.5, "x", [], {}))


def _rearrange(items: list[Any], at: int, fields: list[Field], rng: random.Random) -> None:
    """Drop an item, repeat it with another name or value, or let it change places with another."""
    other = rng.randrange(len(items))
    match rng.randrange(3):
        case 0:
            del items[at]
        case 1:
            again = deepcopy(items[at])
            items.insert(other, again)
            within = list(_fields(again)) if isinstance(again, dict | list) else []
            if within:
                path, value = rng.choice(within)
                _replace(_at(again, path[:-1]), path, value, fields, rng)
        case _:
            items[at], items[other] = items[other], items[at]


def _fields(document: Any, path: Way = ()) -> Iterator[Field]:
    """Yield every field below a document with the way to it."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*path, key), value
        if isinstance(value, dict | list):
            yield from _fields(value, (*path, key))


def _at(document: Any, path: Way) -> Any:
    for key in path:
        document = document[key]
    return document


def _alike(path: Way, other: Way) -> bool:
    """Tell whether two fields have one name or, items of lists, are as deep."""
    return path[-1] == other[-1] if isinstance(path[-1], str) else len(path) == len(other)
