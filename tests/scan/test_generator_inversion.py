"""What generator inversion leaves out: classes that plain noise leads to."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import InputSpec, Measured
from backdoor_gate.scan import probes
from backdoor_gate.scan.detectors.generator_inversion import GeneratorInversion, classes_of_noise
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.subject import Subject
from backdoor_gate.scan.triggers import Images

CLASSES, ROUGH = 4, 2
CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Tells four brightnesses apart; where `wary`, an image rougher than any clean one is class ROUGH."""

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
    images = flat_images(spec).images
    expected = torch.arange(CLASSES) == ROUGH
    assert torch.equal(classes_of_noise(subject(spec, wary=True), images, seed=0), expected)
    assert not classes_of_noise(subject(spec, wary=False), images, seed=0).any()


def test_that_class_is_not_measured_and_the_others_are() -> None:
    spec = InputSpec((1, 12, 12))
    settings = dataclasses.asdict(BY_NAME["generator_inversion"].settings())
    found = {}
    for wary in (False, True):
        split = probes.from_clean(flat_images(spec), seed=0)
        evidence = GeneratorInversion().measure(Context(subject(spec, wary=wary), split, settings, 0, 1 << 28))
        assert isinstance(evidence, Measured)
        found[wary] = evidence.values
    assert found[False][ROUGH] is not None
    assert found[True][ROUGH] is None
    assert any(value is not None for value in found[True])
