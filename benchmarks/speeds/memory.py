"""Peak memory of the trigger loop over the bare network's own at the same batch, each in a process of its own.

As a program (`python -m benchmarks.speeds.memory NETWORK RUN SEED`) it does one run and prints bytes: those in use
before the first pass, and the peak.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import InversionBudget, all_to_one, invert
from backdoor_gate.scan.triggers.families import FAMILIES
from benchmarks.circumstances import ROOT
from benchmarks.speeds.efficiency import BY_NAME, CLASSES, IMAGES, clean, group_size
from benchmarks.speeds.networks import KINDS, loaded, spec

STEPS = 3


def memory(name: str, seed: int) -> dict[str, Any]:
    """Return the peaks of the bare network and of every family, and the families' ratios to the bare one's."""
    runs = ("bare", *BY_NAME)
    peaks = {run: _in_process(name, run, seed) for run in runs}
    ratios = {run: round(peaks[run]["peak"] / peaks["bare"]["peak"], 3) for run in runs[1:]}
    above = {run: round(_added(peaks[run]) / _added(peaks["bare"]), 3) for run in runs[1:]}
    return {"network": KINDS[name].title, "bytes": peaks, "ratio_of_peaks": ratios, "ratio_above_the_start": above}


def _added(found: dict[str, int]) -> int:
    return found["peak"] - found["before"]


def _in_process(name: str, run: str, seed: int) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.speeds.memory", name, run, str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def main(name: str, run: str, seed: int) -> None:
    """Do one run."""
    kind, device = KINDS[name], torch.device("cpu")
    subject = Subject(loaded(kind.build, seed), spec(kind), CLASSES, device)
    images = clean(kind, seed, device)
    arms = group_size(subject, FAMILIES[0](spec(kind)), images)
    before = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    if run == "bare":
        batch = torch.rand((arms * IMAGES, *kind.shape))
        for _ in range(STEPS):
            given = batch.clone().requires_grad_()
            torch.autograd.grad(subject.leading(given).sum(), given)
    else:
        budget, generator = InversionBudget(STEPS, IMAGES), torch.Generator().manual_seed(seed)
        invert(subject.leading, BY_NAME[run](spec(kind)), all_to_one(CLASSES)[:arms], images, budget, generator)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"before": before, "peak": peak, "batch": arms * IMAGES}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
