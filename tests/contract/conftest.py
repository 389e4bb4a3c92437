"""What every detector is given in its battery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from support import digits

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors import DETECTORS
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.network import precision
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from backdoor_gate.scan.detectors import Detector

    MakeContext = Callable[..., Context]

SMALL = {"steps": 12, "images": 8, "restarts": 2}
"""Settings that show how a detector behaves, not what it finds."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Leave the other processors to others."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search in float32 on every machine: coarser rounding makes more of a change in the order of sums."""
    monkeypatch.setattr(precision, "has_instructions", lambda _: False)


@pytest.fixture(params=DETECTORS, ids=lambda detector: detector.name)
def detector(request: pytest.FixtureRequest) -> Detector:
    """Each detector in turn."""
    found: Detector = request.param
    return found


@pytest.fixture
def context(detector: Detector) -> MakeContext:
    """Make the context of a small run of the detector: on the clean digits network, with any field changed."""

    def make(model: nn.Module | None = None, **changes: Any) -> Context:
        defaults = BY_NAME[detector.name].defaults()
        fields = {
            "subject": Subject(digits.loaded(model or digits.trained()), InputSpec((1, 16, 16)), None, CPU),
            "probes": probes.from_clean(digits.clean_images()[:200], seed=0),
            "settings": {name: SMALL.get(name, default) for name, default in defaults.items()},
            "seed": 0,
            "activation_bytes": 256 << 20,
        }
        return Context(**(fields | changes))

    return make


CPU = torch.device("cpu")
