"""Shows how far a scan is, from the numbers that the worker sends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from backdoor_gate.reports.text import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console

    from backdoor_gate import records


_MOST_LEFT = 360_000
"""Seconds left beyond which an estimate is none."""


class ScanProgress:
    """A bar over all detectors, some of which run side by side; off a terminal one plain line as each starts.

    Either tells the time since the scan began, and the time left where that is known.

    Use as a context manager, and give every `records.Progress` to `update`.

    Args:
        console: where to draw; usually standard error.
        detectors: names in the order of `Job.detectors`.
    """

    def __init__(self, console: Console, detectors: Sequence[str]) -> None:
        self._console = console
        self._detectors = [terminal(name, 40) for name in detectors]
        self._shares: dict[int, float] = {}
        self._task: TaskID | None = None
        self._started = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[times]}", markup=False),
            console=console,
            transient=True,
            expand=True,
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._console.is_terminal:
            self._task = self._bar.add_task("starting", total=max(1, len(self._detectors)), times="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar, whatever ended the scan."""
        if self._task is not None:
            self._bar.stop()

    def update(self, progress: records.Progress) -> None:
        """Show the newest numbers; those out of range are shown as the nearest that make sense."""
        if not self._detectors:
            return
        position = min(max(progress.detector, 0), len(self._detectors) - 1)
        share = min(max(progress.done / max(progress.total, 1), 0.0), 1.0)
        begins = position not in self._shares
        self._shares[position] = max(share, self._shares.get(position, 0.0))
        name = self._detectors[position]
        times = _times(time.monotonic() - self._started, progress.seconds_left)
        if self._task is not None:
            first, last = progress.classes
            classes = f"class {first}" if first == last else f"classes {first} to {last}"
            self._bar.update(
                self._task,
                completed=sum(self._shares.values()),
                description=f"{name} ({position + 1}/{len(self._detectors)}), {classes}",
                times=times,
            )
        elif begins:
            counted = f"{name} ({len(self._shares)}/{len(self._detectors)})"
            self._console.print(f"measuring {counted}, {times}", markup=False, highlight=False, soft_wrap=True)


def _times(elapsed: float, left: float | None) -> str:
    told = f"{_minutes(elapsed)} elapsed"
    return told if left is None or not 0 <= left < _MOST_LEFT else f"{told}, {_minutes(left)} left"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
