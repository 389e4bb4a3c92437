"""The networks whose speed is measured, untrained but with lively normalisations: speed does not hang on training."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.loading.final_layer import final_layer
from backdoor_gate.scan.loading.interface import LoadedModel
from benchmarks.zoo import bodies

if TYPE_CHECKING:
    from collections.abc import Callable


class PreActivationBlock(nn.Module):
    """Wide ResNet: normalisation before convolution, which no convolution can take up."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        active = F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return branch + (x if self.shortcut is None else self.shortcut(active))


def resnet18(classes: int = 10) -> nn.Module:
    """Return the ResNet-18 for 32×32 images: 0.56 billion multiplications an image."""
    body, features = bodies.resnet18(3, 64)
    return nn.Sequential(body, nn.Linear(features, classes))


def wrn16(classes: int = 10) -> nn.Module:
    """Return the WRN-16-1 for 32×32 images."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    for number, (inputs, outputs) in enumerate(pairwise((16, 16, 32, 64))):
        layers += [PreActivationBlock(inputs, outputs, 2 if number else 1), PreActivationBlock(outputs, outputs, 1)]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
    )


def cnn(classes: int = 10, channels: int = 1, width: int = 32) -> nn.Module:
    """Return two convolutions and two linear layers, for images of any size."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((channels, width, 2 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(2 * width * 49, 128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, classes))


@dataclass(frozen=True, slots=True)
class Kind:
    """A network and the images it takes."""

    title: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]


KINDS: dict[str, Kind] = {
    "cnn": Kind("CNN, 28×28", cnn, (1, 28, 28)),
    "wrn16": Kind("WRN-16-1, 32×32", wrn16, (3, 32, 32)),
    "resnet18": Kind("ResNet-18, 32×32", resnet18, (3, 32, 32)),
}


def loaded(build: Callable[[], nn.Module], seed: int) -> LoadedModel:
    """Return a network as a loader gives it: frozen, in evaluation mode."""
    torch.manual_seed(seed)
    network = build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    network.eval().requires_grad_(False)
    return LoadedModel(network, "safetensors", final_layer(network, None))


def spec(kind: Kind) -> InputSpec:
    """Return the images that it takes."""
    return InputSpec(kind.shape)
