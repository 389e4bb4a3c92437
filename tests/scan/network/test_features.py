"""Penultimate features: what the final linear layer gets to see, of any network, module or graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import nn

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.loading import pt2
from backdoor_gate.scan.loading.detect import find_weights
from backdoor_gate.scan.loading.final_layer import final_layer
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.features import features_of
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from pathlib import Path

SPEC = InputSpec((1, 16, 16))
CPU = torch.device("cpu")


def subject(model: nn.Module) -> Subject:
    return Subject(LoadedModel(model.eval().requires_grad_(False), "pt2", final_layer(model, 10)), SPEC, 10, CPU)


def check(looked: Subject, body: nn.Module) -> None:
    """Assert that the features are what the network's body gives, of more images than go through at once."""
    images = digits.clean_images().images[:150]
    before = looked.passes
    found, penultimate = features_of(looked, images)
    assert penultimate
    assert looked.passes == before + 150
    assert torch.allclose(found, body(images), rtol=1e-3, atol=1e-4)


def test_of_a_module() -> None:
    model = digits.trained()
    check(subject(model), model[:-1])


def test_of_a_graph(tmp_path: Path) -> None:
    model = digits.trained()
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    file = find_weights(tmp_path, frozenset())
    exported = pt2.read(file.archive, file.name)
    check(Subject(LoadedModel(exported.network, "pt2", exported.final_layer(10)), SPEC, 10, CPU), model[:-1])


def test_of_a_convolution_over_the_whole_image() -> None:
    head = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
    model = nn.Sequential(head, nn.Conv2d(6, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    check(subject(model), nn.Sequential(head, nn.AdaptiveAvgPool2d(1), nn.Flatten()))


class Tied(nn.Module):
    """Has no linear layer, only a product with its own features."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.rand(10, 256, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return -(images.flatten(1)[:, None] - self.prototypes).abs().mean(dim=2)


def test_without_a_final_layer_they_are_the_logits() -> None:
    looked = subject(Tied())
    images = digits.clean_images().images[:5]
    found, penultimate = features_of(looked, images)
    assert not penultimate
    assert torch.equal(found, looked.logits(images))


def test_a_layer_that_sees_the_images_in_another_number_is_not_taken() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(images.flatten(0, 2)).view(len(images), -1, 10).mean(dim=1)

    found, penultimate = features_of(subject(Tokens()), digits.clean_images().images[:5])
    assert not penultimate
    assert found.shape == (5, 10)


def test_a_network_that_fails_says_so() -> None:
    model = digits.network()
    looked = subject(model)
    model[-1] = nn.Linear(3, 10)
    with pytest.raises(RuntimeError):
        features_of(looked, digits.clean_images().images[:5])
