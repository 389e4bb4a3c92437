"""What the stripe sweep makes of nature: the control, and classes that noise leads to."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from support import digits

from backdoor_gate.records import Inconclusive, InputSpec, Measured
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.stripe_sweep import NONE, UNKNOWN, StripeSweep
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from backdoor_gate.records import Evidence

PLANTED = 0.1
"""Amplitude of the planted stripes."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def subject(planted: str | None) -> Subject:
    model = digits.loaded(digits.trained(planted))
    return Subject(model, InputSpec((1, 16, 16)), digits.CLASSES, torch.device("cpu"))


def measure(control: str | None = "none", noise_classes: tuple[int, ...] = (), images: int = 400) -> Evidence:
    """Measure the network with stripes beside a control: another of the digits' networks, or "none"."""
    split = probes.from_clean(digits.clean_images()[:images], seed=0)
    trained = None if control == "none" else lambda: subject(control)
    return StripeSweep().measure(
        Context(subject("stripes"), split, {}, 0, 512 << 20, noise_classes=noise_classes, control=trained)
    )


@cache
def value(control: str | None = "none", noise_classes: tuple[int, ...] = ()) -> float:
    found = measure(control, noise_classes)
    assert isinstance(found, Measured)
    least = found.values[digits.TARGET]
    assert least is not None
    return least


def test_what_the_control_does_not_do_is_not_natural() -> None:
    found = measure(None)
    assert isinstance(found, Measured)
    assert found.success is not None
    assert found.success[digits.TARGET] > 0.9
    assert min(range(10), key=lambda k: found.values[k] or NONE) == digits.TARGET
    assert value(None) < NONE / 5


def test_what_the_control_does_as_well_is_natural() -> None:
    assert value("stripes") == NONE


def test_without_a_control_some_of_it_is_taken_for_nature() -> None:
    assert value() == pytest.approx(value(None) / (1 - UNKNOWN) ** 2, rel=0.05)


def test_without_a_control_noise_is_nature() -> None:
    assert value("none", (digits.TARGET,)) == NONE
    assert value("none", (5,)) == value()
    assert value(None, (digits.TARGET,)) == value(None)


def test_a_share_is_in_terms_of_the_images() -> None:
    """Of lines with twice the contrast the same stripe is half the share."""
    split = probes.from_clean(digits.clean_images()[:400], seed=0)
    grey = split.optimise.images[:, 0]
    lines = grey - grey.mean(dim=2, keepdim=True)
    turn = torch.pi * 7 * (torch.arange(16) + 0.5) / 16
    parts = [(lines @ wave(turn)) / 8 for wave in (torch.cos, torch.sin)]
    usual = float(torch.stack(parts).square().sum(dim=0).mean().sqrt())
    assert value(None) == pytest.approx(PLANTED / usual, rel=0.2)


def test_no_image_taken_rightly_is_nothing_measured() -> None:
    images = digits.clean_images()[:40]
    wrong = digits.Images(images.images, (images.labels + 1) % 10)
    found = StripeSweep().measure(Context(subject(None), probes.from_clean(wrong, seed=0), {}, 0, 512 << 20))
    assert isinstance(found, Inconclusive)
    assert "room for a stripe" in found.reason


def test_the_passes_are_about_as_planned() -> None:
    network = subject("stripes")
    split = probes.from_clean(digits.clean_images()[:400], seed=0)
    context = Context(network, split, {}, 0, 512 << 20)
    before = network.passes
    StripeSweep().measure(context)
    assert network.passes - before == pytest.approx(StripeSweep().planned_passes(context), rel=0.4)
