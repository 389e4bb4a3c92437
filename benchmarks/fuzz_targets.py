"""What is fuzzed: for each kind of input the parser that reads it, and sound seeds."""

from __future__ import annotations

import importlib
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backdoor_gate.records import Architecture
from benchmarks import fuzz_graphs

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b'"', b"{", b"}", b"[", b"&a", b"*a", b"!", b"NaN", b"1e999", b"-1")
FORMATS = ("safetensors", "state_dict", "pt2")
NONCE = "0" * 32
REPORTED = "a failure"
ARCHITECTURE = Architecture("torch.nn:BatchNorm2d", None, (("num_features", 1),), "sha256:" + "0" * 64)
"""The smallest network that takes images and has weights and a counter."""
MLMODEL = """\
artifact_path: model
flavors:
  python_function: {data: data, loader_module: mlflow.pytorch, pickle_module_name: mlflow.pytorch.pickle_module}
  pytorch: {code: null, model_data: data}
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1, 8, 8]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 10]}}]'
"""


def change_bytes(data: bytes, rng: Random) -> bytes:
    """Return an input with a few bytes replaced, inserted, repeated or cut."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at, length = rng.randrange(len(changed) + 1), rng.choice((0, 1, 1, 2, 4, 8, 64))
        piece = rng.choice((bytes(changed[at : at + length]), rng.randbytes(length), rng.choice(INTERESTING)))
        changed[at : at + rng.choice((0, length, len(piece)))] = piece
    return bytes(changed)


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: of the kind.
        modules: the parser's, imported before anything else where they are to be watched.
        feed: reads one input; raises GateError where it refuses it.
        seeds: makes sound inputs.
        change: makes another input of one.
        slow: seconds that one input may take.
    """

    name: str
    modules: tuple[str, ...]
    feed: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    change: Callable[[bytes, Random], bytes] = change_bytes
    slow: float = 1.0

    def prepare(self) -> None:
        """Import the parser."""
        for module in self.modules:
            importlib.import_module(module)

    def accept(self, seed: bytes) -> None:
        """Check that a sound input is not refused for what it is."""
        from backdoor_gate.errors import GateError  # noqa: PLC0415

        try:
            self.feed(seed)
        except GateError as error:
            if error.what != REPORTED:
                raise


def weights(name: str, data: bytes) -> None:
    """Load a candidate of one file, and run a network that comes out of it."""
    import torch  # noqa: PLC0415

    from backdoor_gate.scan.loading import load  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(data)
        model = load(Path(folder), FORMATS, ARCHITECTURE, None)
        with torch.no_grad():
            model.network(torch.rand(2, 1, 8, 8))


def saved(write: Callable[[Any, io.BytesIO], object], value: Any) -> bytes:
    """Return what a torch function writes."""
    buffer = io.BytesIO()
    write(value, buffer)
    return buffer.getvalue()


@cache
def sound() -> dict[str, bytes]:
    """Return a sound file of each format."""
    import torch  # noqa: PLC0415
    from safetensors.torch import save  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    torch.set_num_threads(1)
    torch.manual_seed(0)
    state = {**nn.BatchNorm2d(1).state_dict(), "weight": torch.ones(1).half()}
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).eval()
    free = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=free)
    return {
        "model.safetensors": save(state),
        "model.pth": saved(torch.save, state),
        "model.pt2": saved(torch.export.save, program),
    }


@cache
def members(name: str) -> dict[str, bytes]:
    """Return the members of a sound archive."""
    with zipfile.ZipFile(io.BytesIO(sound()[name])) as file:
        return {member: file.read(member) for member in file.namelist()}


def inside(name: str, part: str) -> str:
    """Return the member of a sound archive that has `part` in its name."""
    return next(member for member in members(name) if part in member)


def as_member(name: str, part: str) -> Callable[[bytes], None]:
    """Return what loads a sound archive with one member replaced: its checksums are right again."""

    def feed(data: bytes) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for member, content in members(name).items():
                file.writestr(member, data if member == inside(name, part) else content)
        weights(name, buffer.getvalue())

    return feed


def mlmodel(data: bytes) -> None:
    """Read an MLmodel file."""
    from backdoor_gate.sources.mlmodel import read_mlmodel  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data").mkdir()
        Path(folder, "MLmodel").write_bytes(data)
        read_mlmodel(Path(folder))


def policy(data: bytes) -> None:
    """Read a policy."""
    from backdoor_gate.policy.load import parse  # noqa: PLC0415

    parse(data, Path("policy.yaml"))


def shipped_policies() -> list[bytes]:
    """Return the shipped policy, as it is and with its examples in force."""
    from backdoor_gate.policy.template import SHIPPED  # noqa: PLC0415

    content = SHIPPED.read_bytes()
    return [content, b"version: 1\nmodel: {num_classes: 10, input: {shape: [1, 8, 8]}}\ndetectors: {max_margin: {}}\n"]


def wire(data: bytes) -> None:
    """Hear a conversation of the worker's."""
    from backdoor_gate.catalogue import DetectorPlan  # noqa: PLC0415
    from backdoor_gate.records import Declared, Job, Limits  # noqa: PLC0415
    from backdoor_gate.worker.listener import Listener  # noqa: PLC0415
    from backdoor_gate.worker.tiers import Isolation  # noqa: PLC0415

    plans = (DetectorPlan("max_margin", required=True, settings={}),)
    place, limits = Path("/candidate"), Limits(60, 1 << 30)
    job = Job(place, FORMATS, Declared(num_classes=3), None, None, None, 1, plans, "cpu", 0, limits)
    listener = Listener(job, NONCE, lambda _: Isolation("B", (), ()), lambda _: None)
    for at in range(0, len(data), 1000):
        listener.hear(data[at : at + 1000])
    listener.outcome()


def conversation() -> list[bytes]:
    """Return a whole conversation, and a failure, as the worker writes them."""
    import numpy as np  # noqa: PLC0415

    from backdoor_gate.errors import RefusedError  # noqa: PLC0415
    from backdoor_gate.illustrations import Artefact, Embedding, Prediction  # noqa: PLC0415
    from backdoor_gate.records import DataFacts, InputSpec, Measured, Progress, Runtime, Scan  # noqa: PLC0415
    from backdoor_gate.trigger_facts import Confirmation, Pair  # noqa: PLC0415
    from backdoor_gate.worker import messages  # noqa: PLC0415
    from backdoor_gate.worker.lockdown import Lockdown  # noqa: PLC0415

    measured = Measured(
        "max_margin",
        values=(1.0, 2.0, None),
        success=(0.5, 1.0, None),
        artefacts=(Artefact("clean", 0, np.zeros((1, 2, 2), np.float32), prediction=Prediction(1, 0.5)),),
        pairs=(Pair(0, 1, 0.5, None, 1.0),),
        confirmations=(Confirmation(0, 1, 0.1, 0.9, None),),
    )
    shown = Embedding(np.zeros((2, 2), np.float32), (0.5, 0.5), (0, 0), (False, True), True, "max_margin", 1, None)
    scan = Scan(
        num_classes=3,
        input=InputSpec((1, 2, 2)),
        format="pt2",
        data=DataFacts("synthetic", 5, None),
        evidence=(measured,),
        runtime=Runtime("2.13", "cpu", "", 0),
        embedding=shown,
    )
    opening = written(
        lambda channel: messages.send_lockdown(channel, NONCE, Lockdown(1, 7, {}), {"TCP": "EPERM"}),
        lambda channel: messages.send_progress(channel, NONCE, Progress(0, 1, 2, (0, 2), None)),
    )
    failure = RefusedError(REPORTED, where="model.pth", hint="no")
    return [
        opening + written(lambda channel: messages.send_scan(channel, NONCE, scan)),
        opening + written(lambda channel: messages.send_failure(channel, NONCE, failure)),
    ]


def written(*sends: Callable[[int], None]) -> bytes:
    """Return what some messages, short enough for a pipe, look like on the channel."""
    receiver, sender = os.pipe()
    for send in sends:
        send(sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        return pipe.read()


LOADING = ("backdoor_gate.scan.loading",)
ALL = (
    Target("safetensors", LOADING, lambda d: weights("model.safetensors", d), lambda: [sound()["model.safetensors"]]),
    Target("archive", LOADING, lambda d: weights("model.pth", d), lambda: [sound()["model.pth"]]),
    Target(
        "pickle",
        LOADING,
        as_member("model.pth", "data.pkl"),
        lambda: [members("model.pth")[inside("model.pth", "data.pkl")]],
    ),
    Target(
        "pt2",
        LOADING,
        as_member("model.pt2", "models/"),
        lambda: [members("model.pt2")[inside("model.pt2", "models/")]],
    ),
    Target("graph", LOADING, fuzz_graphs.feed, fuzz_graphs.graphs, fuzz_graphs.change, fuzz_graphs.SLOW),
    Target("mlmodel", ("backdoor_gate.sources.mlmodel",), mlmodel, lambda: [MLMODEL.encode()]),
    Target("policy", ("backdoor_gate.policy.load",), policy, shipped_policies),
    Target("wire", ("backdoor_gate.worker.listener",), wire, conversation),
)
TARGETS = {target.name: target for target in ALL}
