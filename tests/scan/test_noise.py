"""Classes that plain noise leads to: found, told with the evidence, and looked at again after the others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from backdoor_gate.catalogue import BY_NAME, DetectorPlan
from backdoor_gate.records import Declared, Inconclusive, InputSpec, Job, Limits, Measured
from backdoor_gate.scan import noise
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors import confirmation
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.neural_cleanse import NeuralCleanse
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.noise import NOISE_IMAGES, classes_of_noise
from backdoor_gate.scan.session import run_detectors
from backdoor_gate.scan.triggers import Images

CLASSES, ROUGH = 6, 2
CPU = torch.device("cpu")
FEWER = {"steps": 20}


class Brightness(nn.Module):
    """Tells brightnesses apart; where `wary`, an image rougher than any clean one is class ROUGH."""

    def __init__(self, *, wary: bool) -> None:
        super().__init__()
        self.wary = wary

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        levels = (torch.arange(CLASSES) + 0.5) / CLASSES
        logits = -40 * (images.mean(dim=(1, 2, 3))[:, None] - levels) ** 2
        roughness = (images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3))
        rough = nn.functional.one_hot(torch.tensor(ROUGH), CLASSES) * (roughness - 0.05).clamp_min(0)[:, None]
        return logits + 300 * rough if self.wary else logits


def flat_images(spec: InputSpec, count: int = 80) -> Images:
    """Return nearly flat images, as many of each class."""
    labels = torch.arange(count) % CLASSES
    noise = 0.01 * torch.rand((count, *spec.shape), generator=torch.Generator().manual_seed(0))
    unit = (labels.view(-1, 1, 1, 1) + 0.5) / CLASSES + noise
    return Images(spec.low + (spec.high - spec.low) * unit, labels)


def subject(spec: InputSpec, *, wary: bool) -> Subject:
    class Scaled(nn.Module):
        inner = Brightness(wary=wary)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.inner((images - spec.low) / (spec.high - spec.low))
            return logits

    return Subject(LoadedModel(Scaled(), "state_dict", None), spec, CLASSES, CPU)


@pytest.mark.parametrize("spec", [InputSpec((1, 12, 12)), InputSpec((3, 12, 10), -1.0, 1.0)])
def test_the_class_that_noise_leads_to_is_found(spec: InputSpec) -> None:
    images = flat_images(spec)
    assert classes_of_noise(subject(spec, wary=True), images, seed=0) == (ROUGH,)
    assert classes_of_noise(subject(spec, wary=False), images, seed=0) == ()


def test_of_few_classes_none_is_one_of_noise() -> None:
    class Few(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([0.0, 1, 0, 0, 0]) * (1 + images.mean(dim=(1, 2, 3)))[:, None]

    images = flat_images(InputSpec((1, 12, 12)))
    few = Subject(LoadedModel(Few(), "state_dict", None), InputSpec((1, 12, 12)), 5, CPU)
    assert classes_of_noise(few, images, seed=0) == ()


def test_it_makes_no_difference_how_many_images_there_are_beyond_those_used() -> None:
    images = flat_images(InputSpec((1, 12, 12)), NOISE_IMAGES + 40)
    first = Images(images.images[:NOISE_IMAGES], images.labels[:NOISE_IMAGES])
    net = subject(InputSpec((1, 12, 12)), wary=True)
    assert classes_of_noise(net, images, seed=0) == classes_of_noise(net, first, seed=0)


def test_a_class_is_not_one_of_noise_for_being_that_of_most_images() -> None:
    spec = InputSpec((1, 12, 12))
    images = flat_images(spec, 400)
    kept = torch.cat([(images.labels == 5).nonzero()[:40, 0], (images.labels < 5).nonzero()[:24, 0]])
    mostly = Images(images.images[kept], images.labels[kept])
    assert (mostly.labels == 5).float().mean() > 0.6
    assert classes_of_noise(subject(spec, wary=False), mostly, seed=0) == ()
    assert classes_of_noise(subject(spec, wary=True), mostly, seed=0) == (ROUGH,)


def two_detectors() -> Job:
    return Job(
        candidate=Path(),
        formats=(),
        declared=Declared(),
        signature=None,
        architecture=None,
        data=None,
        max_images=80,
        detectors=tuple(
            DetectorPlan(spec.name, spec.required, spec.defaults() | FEWER)
            for spec in (BY_NAME["neural_cleanse"], BY_NAME["max_margin"])
        ),
        device="cpu",
        seed=0,
        limits=Limits(seconds=60, memory=1 << 40),
    )


@pytest.mark.parametrize("wary", [False, True])
def test_the_evidence_of_every_detector_tells_them(wary: bool) -> None:
    spec = InputSpec((1, 12, 12))
    split = probes.from_clean(flat_images(spec), seed=0)
    found = run_detectors(two_detectors(), subject(spec, wary=wary), split, lambda _: None)
    assert [each.noise_classes for each in found if isinstance(each, Measured)] == [(ROUGH,) if wary else ()] * 2


def test_a_class_of_noise_is_looked_at_again_only_where_it_is_much_the_weakest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "strongest", lambda *_, **__: math.inf)
    spec = InputSpec((1, 12, 12))
    settings = BY_NAME["neural_cleanse"].defaults() | FEWER
    looked_at = {}
    for of_noise in ((), (ROUGH,)):
        split = probes.from_clean(flat_images(spec), seed=0)
        context = Context(subject(spec, wary=True), split, settings, 0, 1 << 28, noise_classes=of_noise)
        evidence = NeuralCleanse().measure(context)
        assert isinstance(evidence, Measured)
        (again,) = evidence.confirmations
        weakest = sorted((value or 9.0) * (3 if k in of_noise else 1) for k, value in enumerate(evidence.values))[0]
        value = evidence.values[again.target]
        assert value is not None
        assert value * (3 if again.target in of_noise else 1) == weakest
        looked_at[of_noise] = again.target
    assert looked_at[()] == ROUGH, "else this shows nothing"


def test_where_they_cannot_be_told_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> tuple[int, ...]:
        raise RuntimeError("the network takes no noise")

    monkeypatch.setattr(noise, "classes_of_noise", broken)
    spec = InputSpec((1, 12, 12))
    split = probes.from_clean(flat_images(spec), seed=0)
    found = run_detectors(two_detectors(), subject(spec, wary=False), split, lambda _: None)
    told = "classes of noise: RuntimeError: the network takes no noise"
    assert [(type(each), getattr(each, "reason", None)) for each in found] == [(Inconclusive, told)] * 2
