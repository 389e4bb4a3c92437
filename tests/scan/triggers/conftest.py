"""Where the engine's tests run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks import pretended

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["cpu", "cuda", "pretended"])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The processor, the graphics card where there is one, and a pretended one."""
    torch.set_num_threads(1)
    if request.param == "pretended":
        with pretended.usable() as found:
            yield found
        return
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    yield torch.device(request.param)
