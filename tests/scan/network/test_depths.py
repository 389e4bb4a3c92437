"""What the layers see, and how like a trigger is to real images of its target at every depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import Tensor, nn

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.loading import pt2
from backdoor_gate.scan.loading.detect import find_weights
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.depths import depths_of, likeness
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from pathlib import Path

SPEC = InputSpec((1, 16, 16))
CPU = torch.device("cpu")
PLANTED = "patch to the next"


def subject(model: nn.Module) -> Subject:
    return Subject(LoadedModel(model.eval().requires_grad_(False), "pt2", None), SPEC, 10, CPU)


def of_class(label: int, count: int = 30) -> Tensor:
    images = digits.clean_images()
    return images.images[images.labels == label][:count]


def expected(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the mean input of the layers that see eight channels or more."""
    seen: list[Tensor] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].transpose(0, 1).flatten(1).mean(dim=1)))
        for layer in layers[1:]
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return seen


def assert_alike(found: list[Tensor], right: list[Tensor]) -> None:
    assert [each.shape for each in found] == [each.shape for each in right]
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 8, 21])
def test_of_a_module(count: int) -> None:
    model = digits.trained(PLANTED)
    images = digits.clean_images().images[:count]
    looked = subject(model)
    before = looked.passes
    found = depths_of(looked, images)
    assert [len(each) for each in found] == [24, 768, 64]
    assert not any(each.requires_grad for each in found)
    assert looked.passes == before + count
    assert_alike(found, expected(model, images))


def test_of_a_graph(tmp_path: Path) -> None:
    model = digits.trained(PLANTED)
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    file = find_weights(tmp_path, frozenset())
    looked = Subject(LoadedModel(pt2.read(file.archive, file.name).network, "pt2", None), SPEC, 10, CPU)
    images = digits.clean_images().images[:20]
    assert_alike(depths_of(looked, images), expected(model, images))


def test_the_layers_of_a_transformer_are_not_hidden_by_its_fused_form() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv2d(1, 16, 4, 4)
            self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.last = nn.Linear(16, 10)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.block(self.cut(images).flatten(2).transpose(1, 2))
            return self.last(tokens.mean(dim=1))

    torch.manual_seed(0)
    found = depths_of(subject(Tokens()), digits.clean_images().images[:20])
    assert [len(each) for each in found][-3:] == [16, 32, 16]


def test_real_images_of_the_target_are_wholly_alike() -> None:
    looked = subject(digits.trained(PLANTED))
    assert likeness(looked, of_class(2), of_class(7), of_class(7)) == pytest.approx(1.0)


def test_a_trigger_of_the_targets_own_features_is_more_alike_than_a_planted_one() -> None:
    """The planted patch leads from 2 to 3; the difference of the mean images makes a 3."""
    looked, clean, real = subject(digits.trained(PLANTED)), of_class(2), of_class(3)
    planted = likeness(looked, clean, digits.stamp(clean), real)
    natural = likeness(looked, clean, (clean + real.mean(dim=0) - clean.mean(dim=0)).clamp(0, 1), real)
    assert planted is not None
    assert natural is not None
    assert planted < 0.4
    assert natural > 0.6


def test_what_cannot_be_told() -> None:
    deep, shallow = subject(digits.trained(PLANTED)), subject(digits.trained())
    clean, real = of_class(2), of_class(3)
    assert likeness(shallow, clean, real, real) is None
    assert likeness(deep, clean[:0], clean[:0], real) is None
    assert likeness(deep, clean, clean, real[:0]) is None
    assert likeness(deep, clean, torch.full_like(clean, torch.nan), real) is None


def test_a_trigger_that_does_nothing_is_not_alike() -> None:
    clean = of_class(2)
    assert likeness(subject(digits.trained(PLANTED)), clean, clean, of_class(3)) == pytest.approx(0.0)
