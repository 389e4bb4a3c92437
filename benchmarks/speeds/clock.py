"""Timing that survives a busy machine: alternatives in turn, processor and wall time, several rounds."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds."""

    cpu: float
    wall: float

    def rates(self, images: int) -> dict[str, float]:
        """Return images per second, of the processor's time (all cores together) and of the clock's."""
        return {"per_cpu_second": round(images / self.cpu, 1), "per_second": round(images / self.wall, 1)}


class Stopwatch:
    """Runs from its construction."""

    def __init__(self) -> None:
        _wait()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> Spent:
        """Return what was spent since."""
        _wait()
        return Spent(max(time.process_time() - self._cpu, 1e-9), time.perf_counter() - self._wall)


def in_turn(alternatives: Mapping[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """Run all alternatives in turn, `rounds` times.

    Args:
        alternatives: what to time, by name; each returns what it has spent on the part that counts.
        rounds: a first one to warm up comes on top.
    """
    found: dict[str, list[Spent]] = {name: [] for name in alternatives}
    for number in range(rounds + 1):
        for name, run in alternatives.items():
            spent = run()
            if number:
                found[name].append(spent)
    return found


def least(samples: list[Spent]) -> Spent:
    """Return the least of several timings of the same: the one that load has disturbed least."""
    return Spent(min(spent.cpu for spent in samples), min(spent.wall for spent in samples))


def ratio(ours: list[Spent], reference: list[Spent]) -> dict[str, float]:
    """Return how many times faster than the reference, the median over the rounds, so that drifting load cancels."""
    rounds = list(zip(ours, reference, strict=True))
    cpu = statistics.median(theirs.cpu / own.cpu for own, theirs in rounds)
    wall = statistics.median(theirs.wall / own.wall for own, theirs in rounds)
    return {"per_cpu_second": round(cpu, 3), "per_second": round(wall, 3)}


def timed(run: Callable[[], object]) -> Callable[[], Spent]:
    """Return a function that runs `run` and returns what it has spent."""

    def clocked() -> Spent:
        watch = Stopwatch()
        run()
        return watch.read()

    return clocked


def _wait() -> None:
    """Let a GPU finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
