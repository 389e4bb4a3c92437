"""How long the rest of a scan will take, told from the passes that its detectors have put behind them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


GRADIENT = 1.5
"""What a gradient to the images costs on top of a pass, in passes: one backwards, and what is kept for it forwards."""


LEFT_OUT = 1.15
"""Time left, as a multiple of what the plan's work alone would take: it leaves out the control's searches, whose passes
cost little, and the end, when cores have nothing left to do. Measured, see `benchmarks.speed --part scan`."""


def work(passes: int, led: int) -> float:
    """Return so many passes as work, `led` of them with a gradient."""
    return passes + GRADIENT * led


class Clock:
    """Tells what work takes by the time that detectors have spent, side by side, and nobody else.

    Args:
        planned: work of all of them.
        streams: how many run side by side.
    """

    def __init__(self, planned: float, streams: int) -> None:
        self._planned, self._streams = planned, streams
        self._begun: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Count the time of one detector."""
        self._begun[name] = time.monotonic()
        try:
            yield
        finally:
            self._ended[name] = time.monotonic()

    def seconds_left(self, done: float) -> float | None:
        """Return the seconds left after so much work; None while nothing can be told."""
        if done <= 0:
            return None
        now = time.monotonic()
        spent = sum(self._ended.get(name, now) - begun for name, begun in list(self._begun.items()))
        return max(0.0, LEFT_OUT * spent * (self._planned - done) / done / self._streams)
