"""Cold start: what commands take that measure nothing, and what a scan takes besides measuring and importing torch."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from benchmarks.circumstances import ROOT
from benchmarks.zoo.networks import build

COMMAND = (sys.executable, "-c", "from backdoor_gate.cli import main; main()")
TARGET = 0.3
"""Seconds of CPU for `--help` and `policy check`."""

KWARGS = {"kind": "cnn", "channels": 1, "size": 8, "num_classes": 10}


def start(runs: int) -> dict[str, Any]:
    """Run each command `runs` times in turn; return the medians."""
    with tempfile.TemporaryDirectory() as folder:
        policy, candidate = prepared(Path(folder))
        commands = {
            "python": (sys.executable, "-c", "pass"),
            "import torch": (sys.executable, "-c", "import torch"),
            "--help": (*COMMAND, "--help"),
            "policy check": (*COMMAND, "policy", "check", str(policy)),
            "scan of the weights alone": (*COMMAND, "scan", str(candidate), "--policy", str(policy), "--quiet"),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                taken[name].append(run(command, Path(folder)))
    figures = {
        name: {unit: round(statistics.median(row[at] for row in rows), 3) for at, unit in enumerate(("cpu", "wall"))}
        for name, rows in taken.items()
    }
    beyond = figures["scan of the weights alone"]["wall"] - figures["import torch"]["wall"]
    return {"seconds": figures, "scan_beyond_import_of_torch": round(beyond, 3), "target_cpu_seconds": TARGET}


def prepared(folder: Path) -> tuple[Path, Path]:
    """Write a small network and a policy with the one detector that puts no image through it."""
    candidate = folder / "candidate"
    candidate.mkdir()
    save_file(build(**KWARGS).state_dict(), candidate / "weights.safetensors")  # type: ignore[arg-type]
    model = {
        "architecture": "benchmarks.zoo.networks:build",
        "architecture_path": str(ROOT),
        "architecture_kwargs": KWARGS,
        "num_classes": 10,
        "input": {"shape": [1, 8, 8]},
    }
    policy = folder / "policy.yaml"
    policy.write_text(
        json.dumps({"version": 1, "model": model, "detectors": {"final_layer": {"required": True}}}), encoding="utf-8"
    )
    return policy, candidate


def run(command: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Return the seconds of CPU and of wall that a command takes.

    Raises:
        RuntimeError: it ends otherwise than commands do.
    """
    before, started = _children(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    if done.returncode not in {0, 1, 4}:  # the verdicts of a network without training
        raise RuntimeError(f"{command[3:]} ended with {done.returncode}: {done.stderr[-500:]}")
    return _children() - before, wall


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
