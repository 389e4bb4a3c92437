"""What locking the worker down adds to its start, beyond importing torch.

    python -m benchmarks.lockdown [--runs 25] [--out FILE]

Each run starts a worker as a scan does and stops where it would read its job, in turn without any lock-down, with
tier B and with tier A, so that all three see the same load of the machine. What is added is told as differences of
medians on the wall's clock: of starts that leave out importing torch, which takes longer than all the rest and never
twice the same time (`bare`); of whole starts (`with_torch`), where Landlock looks at every file that is imported; and
of the steps that were clocked one by one (`steps`), the parent's (`cell`) and the child's, without bubblewrap's own
start.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import click

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.records import Declared, Job, Limits
from backdoor_gate.worker import bubblewrap, identity, landlock, launch
from backdoor_gate.worker.cell import Cell
from benchmarks.circumstances import RESULTS, circumstances

OUT = RESULTS / "lockdown.json"
TARGET_MS = 150

CHILD = """
import json, os, sys, time, types
from backdoor_gate.errors import RefusedError
from backdoor_gate.worker import lockdown, main, probe
took = {}
def clocked(module, name, without):
    step = (lambda *_: without) if sys.argv[1] == "none" and name != "before_imports" else getattr(module, name)
    def run(*arguments):
        started = time.perf_counter()
        try:
            return step(*arguments)
        finally:
            took[name] = 1000 * (time.perf_counter() - started)
    setattr(module, name, run)
if sys.argv[1] == "none":
    lockdown._attempt = lambda *_: None
clocked(lockdown, "before_imports", None)
clocked(lockdown, "after_imports", None)
clocked(probe, "attempt_all", {})
def stop(message):
    raise RefusedError(json.dumps(took))
main.orders.decode = stop
if sys.argv[2] == "bare":
    scan = types.ModuleType("backdoor_gate.scan")
    scan.session = types.ModuleType("backdoor_gate.scan.session")
    scan.session.get_ready = lambda: None
    sys.modules |= {"backdoor_gate.scan": scan, "backdoor_gate.scan.session": scan.session}
main.main(int(sys.argv[-1]))
os._exit(0)
"""
"""The real child, clocked; `none` leaves out what is not tier C's, `bare` importing torch."""


def job(folder: Path) -> Job:
    """Return a job that is never done."""
    return Job(
        candidate=folder,
        formats=("safetensors",),
        declared=Declared(),
        signature=None,
        architecture=None,
        data=None,
        max_images=1,
        detectors=(),
        device="cpu",
        seed=0,
        limits=Limits(120, 8 << 30),
    )


def start(kind: str, extent: str, folder: Path) -> dict[str, float]:
    """Start a worker with one kind of lock-down, `bare` or `with_torch`; return milliseconds by step and in all."""
    command = (sys.executable, "-I", "-c", CHILD, kind, extent)
    path = bubblewrap.program() if kind == "A" else None
    steps: dict[str, float] = {}

    def cell(wanted: Job) -> Cell:
        begun = time.perf_counter()
        made = Cell(wanted)
        steps["cell"] = 1000 * (time.perf_counter() - begun)
        return made

    user = None if kind == "none" else identity.choose()
    started = time.perf_counter()
    around = mock.patch.object(bubblewrap, "program", return_value=path)
    with around, mock.patch.object(identity, "choose", return_value=user), mock.patch.object(launch, "Cell", cell):
        try:
            launch.run(job(folder), lambda _: None, minimum="C" if kind == "none" else kind, command=command)
        except RefusedError as stopped:
            steps |= json.loads(stopped.what)
    return steps | {extent: 1000 * (time.perf_counter() - started)}


def available(folder: Path) -> list[str]:
    """Return the kinds of lock-down that this machine can do."""
    found = ["none"]
    for kind in ("B", "A"):
        try:
            start(kind, "bare", folder)
        except UnmeasuredError as error:
            click.echo(f"{kind}: {error}", err=True)
        else:
            found.append(kind)
    return found


def situation() -> dict[str, object]:
    """Return what the figures hang on."""
    return circumstances("benchmarks.lockdown", seed=0, packages=("backdoor-gate", "torch")) | {
        "kernel": f"{platform.machine()}, Linux {platform.release()}",
        "landlock": landlock.version(),
        "as_root_with_own_user": identity.choose() is not None,
    }


@click.command()
@click.option("--runs", default=25, show_default=True, type=click.IntRange(3))
@click.option("--out", default=OUT, show_default=False, type=click.Path(path_type=Path), help="Where the figures go.")
def main(runs: int, out: Path) -> None:
    """Measure what the lock-down adds to a worker's start."""
    about = situation()
    with tempfile.TemporaryDirectory() as folder:
        kinds = available(Path(folder))
        taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for extent in ("with_torch", "bare"):
            for _ in range(runs):
                for kind in kinds:
                    taken[kind].append(start(kind, extent, Path(folder)))
    figures = {kind: medians(rows) for kind, rows in taken.items()}
    added = {kind: more(figures[kind], figures["none"]) for kind in kinds if kind != "none"}
    result = {"circumstances": about, "target_ms": TARGET_MS, "added_ms": added, "median_ms": figures}
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(result, indent=2))


def more(locked: dict[str, float], unlocked: dict[str, float]) -> dict[str, float]:
    """Return what a lock-down adds: to each extent of the start, and in the steps that were clocked."""
    extra = {step: locked[step] - unlocked[step] for step in locked}
    extents = {extent: round(extra.pop(extent), 1) for extent in ("bare", "with_torch")}
    return extents | {"steps": round(sum(extra.values()), 1)}


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each step over the runs that took it."""
    steps = dict.fromkeys(step for row in rows for step in row)
    return {step: round(statistics.median(row[step] for row in rows if step in row), 2) for step in steps}


if __name__ == "__main__":
    main()
