"""What a scan has to work with: memory for activations, and a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backdoor_gate.errors import UsageError
from backdoor_gate.scan.machine import (
    ACTIVATION_CAP,
    ASSUMED_IN_USE,
    address_space_in_use,
    choose_device,
    free_for_activations,
)

CPU = torch.device("cpu")
GIB = 1 << 30


def test_memory_for_activations_is_what_the_limit_leaves() -> None:
    used = address_space_in_use()
    assert 50 << 20 < used < 64 * GIB
    assert free_for_activations(0, CPU) == 0
    assert free_for_activations(used // 2, CPU) == 0
    little = free_for_activations(used + (100 << 20), CPU)
    assert 20 << 20 < little < 60 << 20
    assert free_for_activations(used + 100 * GIB, CPU) == ACTIVATION_CAP


def test_where_the_system_does_not_say_an_amount_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(self: Path, encoding: str) -> str:
        raise FileNotFoundError(2, "no such file", str(self), encoding)

    monkeypatch.setattr(Path, "read_text", nowhere)
    assert address_space_in_use() == ASSUMED_IN_USE


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_device("cuda")
