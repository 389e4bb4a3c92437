"""How long the rest of a scan will take, told from the images that its detectors have put through the model so far."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Tells what a pass takes by the time that detectors have spent, side by side, and nobody else.

    Args:
        planned: images that all of them will put through the model.
        streams: how many run side by side.
    """

    def __init__(self, planned: int, streams: int) -> None:
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

    def seconds_left(self, done: int) -> float | None:
        """Return the seconds left after so many images; None while nothing can be told."""
        if done <= 0:
            return None
        now = time.monotonic()
        spent = sum(self._ended.get(name, now) - begun for name, begun in list(self._begun.items()))
        return max(0.0, spent * (self._planned - done) / done / self._streams)
