"""A place to attack from, one to attack, and what this machine can keep apart."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backdoor_gate.catalogue import DetectorPlan
from backdoor_gate.records import Architecture, Declared, Inconclusive, Job, Limits
from backdoor_gate.worker import bubblewrap, identity, landlock, launch, seccomp

if TYPE_CHECKING:
    from backdoor_gate.records import Progress, Scan

HERE = Path(__file__).parent
LAYERS = {
    "limits": (),
    "user": ("user",),
    "Landlock": ("landlock",),
    "seccomp": ("seccomp",),
    "B": ("landlock", "seccomp", "user"),
    "A": ("landlock", "seccomp", "user"),
}
"""What is left in place; A has namespaces around it besides."""


@dataclass
class Target:
    """Things that a locked child must not reach, all of them open to its user."""

    folder: Path
    """`outside`: not granted. `granted`: a file to read. `candidate`: an empty folder."""
    ports: dict[str, int]
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def job(self, attacks: list[str], seconds: float = 30.0) -> Job:
        """Return a job whose detectors are the attacks."""
        settings = {"outside": str(self.folder / "outside"), "ports": self.ports, "gate": os.getpid()}
        return Job(
            candidate=self.folder / "candidate",
            formats=("safetensors",),
            declared=Declared(num_classes=2, shape=(1, 2, 2)),
            signature=None,
            architecture=Architecture("attacker:measure", HERE, (), ""),
            data=self.folder / "granted",
            max_images=1,
            detectors=tuple(DetectorPlan(name, required=True, settings=settings) for name in attacks),
            device="cpu",
            seed=0,
            limits=Limits(seconds=seconds, memory=4 << 30),
        )

    def attack(self, layer: str, attacks: list[str], *, minimum: str = "C", seconds: float = 30.0) -> dict[str, Any]:
        """Run the attacks in one child behind a layer and return what each met."""
        scan = run(self.job(attacks, seconds), layer, minimum=minimum)
        reasons = [(e.detector, e.reason) for e in scan.evidence if isinstance(e, Inconclusive)]
        return {name: json.loads(reason) for name, reason in reasons}


def run(job: Job, layer: str, *, minimum: str = "C", heard: list[Progress] | None = None) -> Scan:
    """Run the attacking child behind a layer; namespaces are around it for A only."""
    command = (sys.executable, "-I", str(HERE / "attacker.py"), ",".join(LAYERS[layer]))
    with pytest.MonkeyPatch.context() as patch:
        if layer != "A":
            patch.setattr(bubblewrap, "program", lambda: None)
        if "user" not in LAYERS[layer]:
            patch.setattr(identity, "choose", lambda: None)
        return launch.run(job, ([] if heard is None else heard).append, minimum=minimum, command=command)


def why_not(tier: str) -> str:
    """Return why a tier cannot be had on this machine, or an empty text."""
    if sys.platform != "linux":
        return "Linux only"
    try:
        landlock.version()
        seccomp.this_architecture()
    except OSError as error:
        return f"no Landlock or no seccomp here: {error}"
    if tier == "A":
        return _why_no_bubblewrap()
    return ""


def _why_no_bubblewrap() -> str:
    path = bubblewrap.program()
    if path is None:
        return "bubblewrap is not installed"
    bubble = bubblewrap.Bubble(path, (), Path("/"), as_root=os.geteuid() == 0)
    try:
        fault = bubble.trial({})
    finally:
        bubble.close()
    return f"bubblewrap does not work here: {fault}" if fault else ""
