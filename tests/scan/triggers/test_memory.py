"""The memory of an optimisation step, counted from shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.triggers import Images, InversionBudget, all_to_one, invert
from backdoor_gate.scan.triggers.families import FAMILIES, Patch, TriggerFamily
from backdoor_gate.scan.triggers.memory import _saved_bytes, activation_bytes_per_image


def small(size: int, width: int = 8, hidden: int = 4) -> nn.Sequential:
    """Return a frozen network whose activations grow with `width`, and whose weights grow with `hidden`."""
    layers = (nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(width * size * size, hidden))
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(hidden, 10)).requires_grad_(False)


def blank(count: int, size: int) -> Images:
    return Images(torch.full((count, 1, size, size), 0.5), torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("kind", FAMILIES, ids=lambda family: family.__name__)
def test_it_grows_linearly_with_the_batch(kind: type[TriggerFamily], device: torch.device) -> None:
    family, network = kind(InputSpec((1, 12, 12))), small(12).to(device)
    held = [_saved_bytes(network, family, blank(count, 12).to(device)) for count in (1, 2, 3, 9)]
    step = held[1] - held[0]
    assert step > 0
    assert held[2] - held[1] == step
    assert held[3] - held[2] == 6 * step


def test_it_grows_with_the_activations() -> None:
    family = Patch(InputSpec((1, 12, 12)))
    narrow, wide = (activation_bytes_per_image(small(12, width), family, blank(2, 12)) for width in (8, 32))
    assert 3 < wide / narrow < 4.5


def test_it_leaves_the_weights_out() -> None:
    family = Patch(InputSpec((1, 12, 12)))
    light, heavy = (activation_bytes_per_image(small(12, 8, hidden), family, blank(2, 12)) for hidden in (4, 400))
    assert heavy - light < 400 * 4 * 10  # not the 1.8 MB of the weights
    assert light >= 8 * 12 * 12 * 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", FAMILIES, ids=lambda family: family.__name__)
def test_it_is_near_the_peak_of_a_real_step(kind: type[TriggerFamily]) -> None:
    cuda = torch.device("cuda")
    family, network, images = kind(InputSpec((1, 64, 64))), small(64, 64).to(cuda), blank(32, 64).to(cuda)
    estimate = activation_bytes_per_image(network, family, images[:2]) * 32 * 10
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    invert(network, family, all_to_one(10).to(cuda), images, InversionBudget(3, 32), torch.Generator().manual_seed(0))
    peak = torch.cuda.max_memory_allocated() - before
    assert 0.3 * estimate < peak < 1.3 * estimate
