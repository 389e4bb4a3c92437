"""Passes over many images: the same answers whatever their number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from support import digits

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.network import passes
from backdoor_gate.scan.network.passes import predict
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    import pytest


def test_predictions_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Subject(digits.loaded(digits.trained()), InputSpec((1, 16, 16)), 10, torch.device("cpu"))
    images = digits.clean_images().images[:50]
    whole = predict(looked, images)
    monkeypatch.setattr(passes, "INFERENCE_CHUNK", 7)
    assert torch.equal(predict(looked, images), whole)
    assert whole.dtype == torch.int64
