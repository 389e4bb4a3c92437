"""Independent work on all cores, one stream of it on each.

The operators of small networks are too short to be shared out: on two cores a search that shares them takes nearly as
long as on one. Detectors do not depend on each other, so they run side by side instead, each on a core of its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_STREAMS = 8
"""At a time; with more, memory is what they wait for."""


def streams_of(device: torch.device) -> int:
    """Return how many streams a device takes: one for each core that torch may use, but one for a whole GPU."""
    return min(torch.get_num_threads(), MOST_STREAMS) if device.type == "cpu" else 1


@contextmanager
def in_streams(streams: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of so many threads, which share the cores between them; it begins work in the order of submission.

    Work that has not begun when the block is left by an error never does.
    """
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(streams, "stream", torch.set_num_threads, (max(1, cores // streams),))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
