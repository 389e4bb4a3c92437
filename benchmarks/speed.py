"""Measure how fast the engine is against the machine's limit, and how the cost of a scan grows.

    python -m benchmarks.speed [--part PART]... [--network NAME]... [--threads N] [--device auto|cpu|cuda] [--seed N]

Parts: `options` (what each setting is worth), `efficiency` (trigger loop against the bare network), `memory`, `growth`
(classes, image size, network width), `start` (cold start), `scan` (a whole default scan), `trained` (the same of
trained networks of the zoo), `elsewhere` (how many operators a scan asks of a GPU, and how often it waits for one),
`precision` (what bfloat16 changes in the evidence, on the zoo's networks). Each part is
short by itself; what was measured before by other parts stays in `benchmarks/results/speed.json`, and `speed.md` is
written anew; machines without bfloat16 have entries of their own. Ratios are of one run each, of alternatives timed in
turn. It runs with the worker's variables for threads and memory.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click
import torch

from backdoor_gate.scan.machine import choose_device
from backdoor_gate.scan.network.precision import has_instructions
from backdoor_gate.scan.session import get_ready
from backdoor_gate.worker.environment import ALLOCATOR
from benchmarks.circumstances import RESULTS, circumstances
from benchmarks.speeds.efficiency import efficiency
from benchmarks.speeds.elsewhere import elsewhere
from benchmarks.speeds.growth import growth, trained
from benchmarks.speeds.memory import memory
from benchmarks.speeds.networks import KINDS
from benchmarks.speeds.options import details, options
from benchmarks.speeds.precision import precision
from benchmarks.speeds.start import start
from benchmarks.speeds.tables import markdown
from benchmarks.speeds.whole import whole

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = ("options", "efficiency", "memory", "growth", "start", "scan", "trained", "elsewhere", "precision")
BY_NETWORK = ("options", "efficiency", "memory", "scan", "elsewhere")


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Left out: all.")
@click.option("--network", "networks", multiple=True, type=click.Choice(list(KINDS)), help="Left out: all.")
@click.option("--rounds", default=4, show_default=True, help="Timings of each alternative, of which the best counts.")
@click.option("--threads", default=0, help="0: as many as there are cores.")
@click.option("--device", "wanted", default="auto", type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--most-seconds", default=150.0, show_default=True, help="Longer scans are told from rates.")
@click.option("--seed", default=0, show_default=True)
def main(  # noqa: PLR0913, PLR0917 (one argument per option)
    parts: tuple[str, ...],
    networks: tuple[str, ...],
    rounds: int,
    threads: int,
    wanted: str,
    most_seconds: float,
    seed: int,
) -> None:
    """Measure parts, keep the figures, write the tables."""
    as_the_worker_runs()
    get_ready()
    if threads:
        torch.set_num_threads(threads)
    device = choose_device(wanted)
    kind = device.type if has_instructions(device) else f"{device.type}-float32"
    measured: dict[str, Callable[[str], Any]] = {
        "options": lambda name: options(name, rounds, seed),
        "efficiency": lambda name: efficiency(name, rounds, seed, device),
        "memory": lambda name: memory(name, seed),
        "scan": lambda name: whole(name, seed, device, most_seconds),
        "growth": lambda _: growth(seed, device),
        "trained": lambda _: trained(seed),
        "start": lambda _: start(2 * rounds + 1),
        "elsewhere": lambda name: elsewhere(name, seed),
        "precision": lambda _: precision((seed, seed + 1)),
    }
    for part in parts or PARTS:
        for name in (networks or tuple(KINDS)) if part in BY_NETWORK else ("",):
            about = circumstances("benchmarks.speed", seed)
            where = "pretended" if part == "elsewhere" else kind
            keep(f"{part} {where} {name}".strip(), {"circumstances": about} | measured[part](name))
        if part == "options":
            keep("details cpu", {"circumstances": circumstances("benchmarks.speed", seed)} | details(rounds, seed))


def as_the_worker_runs() -> None:
    """Start this process anew with the worker's variables, which libraries read when they are loaded."""
    wanted = ALLOCATOR | {"OMP_WAIT_POLICY": "PASSIVE"}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        arguments = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | wanted)


def keep(name: str, figures: dict[str, Any]) -> None:
    """Put a part's figures beside those of the others, and write the tables anew."""
    path = RESULTS / "speed.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[name] = figures
    kept = dict(sorted(kept.items()))
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "speed.md").write_text(markdown(kept), encoding="utf-8")
    print(json.dumps({name: figures}, indent=1), flush=True)


if __name__ == "__main__":
    main()
