"""Jobs and scans for the worker's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.catalogue import DetectorPlan
from backdoor_gate.illustrations import Artefact
from backdoor_gate.records import (
    Architecture,
    Cost,
    DataFacts,
    Declared,
    Inconclusive,
    InputSpec,
    Job,
    Limits,
    Measured,
    NotApplicable,
    Runtime,
    Scan,
)

if TYPE_CHECKING:
    from pathlib import Path

NONCE = "0123456789abcdef"

OPENING = """
import json, os, signal, struct, sys, time
channel = int(sys.argv[-1])
nonce = json.loads(sys.stdin.buffer.readline())["nonce"]
failure = {"kind": "refused", "what": "seen", "where": "model.pth", "hint": "upload again"}
def frame(kind, payload):
    data = struct.pack(">cI", kind, len(payload)) + payload
    while data:
        data = data[os.write(channel, data):]
def result(nonce=nonce, scan=None, failure=failure):
    frame(b"R", json.dumps({"nonce": nonce, "scan": scan, "failure": failure}).encode())
def progress(done=1, total=10):
    document = {"nonce": nonce, "detector": 0, "done": done, "total": total, "classes": [0, 1], "seconds_left": None}
    frame(b"P", json.dumps(document).encode())
def lockdown():
    steps = dict.fromkeys(("privileges", "landlock", "seccomp"), "ENOSYS")
    document = {"nonce": nonce, "threads": 1, "landlock": 0, "faults": steps, "attempts": {}}
    frame(b"L", json.dumps(document).encode())
"""
"""What a child's script starts with: it has heard how to lock down, and said nothing yet."""

PRELUDE = (
    OPENING
    + """
lockdown()
order = json.loads(sys.stdin.buffer.read())
"""
)
"""The same, after the child has told that it has no lock-down, and has got its job."""


def make_job(folder: Path, seconds: float = 20.0) -> Job:
    names = ("final_layer", "max_margin", "neural_cleanse")
    return Job(
        candidate=folder / "candidate",
        formats=("safetensors", "pt2"),
        declared=Declared(num_classes=3, shape=(1, 4, 5), mean=(0.5,), std=(0.25,)),
        signature=None,
        architecture=Architecture("nets:build", folder, (("classes", 3), ("widths", [8, 16])), "sha256:00"),
        data=folder / "clean.npz",
        max_images=500,
        detectors=tuple(DetectorPlan(name, required=True, settings={}) for name in names),
        device="cpu",
        seed=7,
        limits=Limits(seconds=seconds, memory=8 << 30),
    )


def make_scan() -> Scan:
    trigger = Artefact("trigger", 2, np.arange(20, dtype=np.float32).reshape(1, 4, 5))
    mask = Artefact("mask", 2, np.ones((1, 4, 5), dtype=np.float32))
    return Scan(
        num_classes=3,
        input=InputSpec((1, 4, 5), 0.0, 1.0, (0.5,), (0.25,)),
        format="safetensors",
        data=DataFacts("clean", 120, 0.97),
        evidence=(
            NotApplicable("final_layer", "no linear layer at the end", by_candidate=True),
            Inconclusive("max_margin", "gradients vanish", Cost(1.5, 600, 0)),
            Measured(
                "neural_cleanse",
                values=(0.5, None, 0.01),
                success=(0.95, None, 1.0),
                verified=True,
                cost=Cost(2.0, 4800, 60),
                artefacts=(trigger, mask),
                side=4,
            ),
        ),
        runtime=Runtime("2.13.0", "cpu", "", 0),
    )


def same_scan(one: Scan, other: Scan) -> bool:
    """Whether two scans are equal, arrays included, but for what the parent fills in."""
    return _comparable(one) == _comparable(other)


def _comparable(scan: Scan) -> object:
    evidence = [
        (
            replace(e, artefacts=()),
            [(a.name, a.class_index, a.source_class, a.array.shape, a.array.tobytes()) for a in e.artefacts],
        )
        if isinstance(e, Measured)
        else e
        for e in scan.evidence
    ]
    facts = (scan.num_classes, scan.input, scan.format, scan.data, scan.runtime.torch, scan.runtime.device)
    return facts, evidence
