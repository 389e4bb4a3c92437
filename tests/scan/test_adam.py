"""Adam's steps are torch's own, and neither they nor what watches a pass bring torch's compiler with them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from backdoor_gate.scan import control
from backdoor_gate.scan.adam import Adam

BETAS = (0.5, 0.9)


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator).requires_grad_() for size in ((3, 4), (5,))]


def loss_of(given: list[Tensor], step: int) -> Tensor:
    first, second = given
    return ((first - step).square().sum() + (second * first.sum()).sin().sum()).sqrt()


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_the_steps_are_those_of_torch(weight_decay: float, fused: bool | None) -> None:
    ours, theirs = parameters(), parameters()
    own = Adam(ours, 0.1, BETAS, weight_decay=weight_decay, fused=fused)
    its = torch.optim.AdamW(theirs, 0.1, BETAS, weight_decay=weight_decay, fused=fused)
    for step in range(5):
        own.forget_gradients()
        its.zero_grad()
        for given, optimiser in ((ours, own), (theirs, its)):
            loss_of(given, step).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    assert all(map(torch.equal, ours, theirs))
    assert not any(map(torch.equal, ours, parameters()))


def test_the_controls_rates_are_those_of_one_cycle() -> None:
    its = torch.optim.AdamW(nn.Linear(2, 2).parameters(), control.PEAK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(its, control.PEAK_RATE, control.STEPS)
    for done in range(control.STEPS):
        (group,) = its.param_groups
        assert control._one_cycle(done) == (group["lr"], group["betas"][0])
        its.step()
        schedule.step()


def test_nothing_brings_the_compiler() -> None:
    """It would take two seconds, and memory, to compile nothing."""
    script = """
import sys, torch
from torch import nn
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.network import precision
from backdoor_gate.scan.adam import Adam
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.depths import depths_of
from backdoor_gate.scan.network.features import features_of
from backdoor_gate.scan.network.subject import Subject
precision.has_instructions = lambda _: True
network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).requires_grad_(False)
subject = Subject(LoadedModel(network, "test", None), InputSpec((1, 8, 8)), 4, torch.device("cpu"))
images = torch.rand(4, 1, 8, 8)
assert subject.halved and len(depths_of(subject, images)) and len(features_of(subject, images)[0])
trigger = torch.zeros(1, 8, 8, requires_grad=True)
optimiser = Adam([trigger], 0.1, (0.5, 0.9))
subject.leading(images + trigger).sum().backward()
optimiser.step()
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
