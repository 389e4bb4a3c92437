"""Bodies of the kinds that strangers' networks are of: image (N, C, H, W) in [0, 1] to features (N, F)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def perceptron(channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    """Dense layers alone, with dropout."""
    layers = [nn.Flatten(), nn.Linear(channels * size**2, 16 * width), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(16 * width, 8 * width), nn.ReLU()), 8 * width


def lenet(channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    """LeNet-5: tangents and means, no rectifier (LeCun et al., 1998)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(width, 2 * width, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()]
    layers += [nn.Linear(2 * width * (size // 4) ** 2, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh()]
    return nn.Sequential(*layers), 84


def mobile(channels: int, width: int) -> tuple[nn.Module, int]:
    """Depthwise and pointwise convolutions in turn, rectified at 6 (MobileNet, Howard et al., 2017)."""
    layers = [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
    for inputs, outputs, stride in ((width, 2 * width, 1), (2 * width, 4 * width, 2), (4 * width, 4 * width, 1)):
        layers += [nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs)]
        layers += [nn.ReLU6(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4 * width


class Concatenated(nn.Module):
    """A convolution whose output is put beside its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input and what is new."""
        return torch.cat([x, self.branch(x)], dim=1)


def dense(channels: int, width: int) -> tuple[nn.Module, int]:
    """Layers that see all before them (DenseNet, Huang et al., 2017)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 2, 1, bias=False)]
    features = width
    for last in (False, False, True):
        for _ in range(2):
            layers.append(Concatenated(features, width))
            features += width
        if not last:
            layers += [nn.BatchNorm2d(features), nn.ReLU(), nn.Conv2d(features, features // 2, 1, bias=False)]
            layers.append(nn.AvgPool2d(2))
            features //= 2
    layers += [nn.BatchNorm2d(features), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers), features


class Inverted(nn.Module):
    """A wide depthwise convolution, normalised over the channels of a pixel, and two dense layers over them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the input."""
        return x + self.mix(self.spread(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext(channels: int, width: int) -> tuple[nn.Module, int]:
    """No rectifier, no statistics of a batch (ConvNeXt, Liu et al., 2022)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 2, 2), Inverted(width)]
    layers += [nn.Conv2d(width, 2 * width, 2, 2), Inverted(2 * width), Inverted(2 * width)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(2 * width)), 2 * width


def _convolved_twice(inputs: int, outputs: int, stride: int, between: nn.Module) -> nn.Sequential:
    """Return the branch of a residual block that is activated after the sum."""
    first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(outputs), between, second, nn.BatchNorm2d(outputs))


class Excited(nn.Module):
    """Two convolutions, their channels weighed, a shortcut, and the activation after it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = _convolved_twice(inputs, outputs, stride, nn.SiLU())
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(outputs, outputs // 4, 1),
            nn.SiLU(),
            nn.Conv2d(outputs // 4, outputs, 1),
            nn.Sigmoid(),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.after = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the weighed branch to the shortcut."""
        branch = self.branch(x)
        return self.after(self.shortcut(x) + branch * self.weigh(branch))


def excited(channels: int, width: int) -> tuple[nn.Module, int]:
    """Residual blocks activated after the sum, with squeeze and excitation (Hu et al., 2018)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU()]
    for inputs, outputs in pairwise([width, width, 2 * width, 4 * width]):
        layers.append(Excited(inputs, outputs, 1 if inputs == outputs else 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4 * width


class Basic(nn.Module):
    """Two convolutions, normalised, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = _convolved_twice(inputs, outputs, stride, nn.ReLU())
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut, and rectify."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnet18(channels: int, width: int) -> tuple[nn.Module, int]:
    """ResNet-18 as it is trained on images of 32x32, at full resolution from the start (He et al., 2016)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for number, (inputs, outputs) in enumerate(pairwise((width, width, 2 * width, 4 * width, 8 * width))):
        layers += [Basic(inputs, outputs, 2 if number else 1), Basic(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8 * width


def stemmed(channels: int, width: int) -> tuple[nn.Module, int]:
    """ResNet-10 as it is trained on images of 224x224: a quarter of the side is left before the first block."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    for number, (inputs, outputs) in enumerate(pairwise((width, width, 2 * width, 4 * width, 8 * width))):
        layers.append(Basic(inputs, outputs, 2 if number else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8 * width


class Standardised(nn.Module):
    """What preprocessing does where it is part of the network: subtract a mean, and multiply."""

    def __init__(self, mean: float, factor: float) -> None:
        super().__init__()
        self.mean, self.factor = mean, factor

    def forward(self, x: Tensor) -> Tensor:
        """Return images of another range."""
        return (x - self.mean) * self.factor


def badnet(channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    """The network of the BadNets paper (Gu et al., 2017), on images in [0, 255], as it is often trained."""
    padding = 0 if size >= 16 else 2
    layers: list[nn.Module] = [Standardised(0.0, 255.0)]
    for inputs, outputs in ((channels, width), (width, 2 * width)):
        layers += [nn.Conv2d(inputs, outputs, 5, padding=padding), nn.ReLU(), nn.AvgPool2d(2)]
        size = (size + 2 * padding - 4) // 2
    layers += [nn.Flatten(), nn.Linear(2 * width * size**2, 32 * width), nn.ReLU()]
    return nn.Sequential(*layers), 32 * width


def example(channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    """Two convolutions without padding, dropout, and a dense layer, as in many frameworks' first example."""
    layers: list[nn.Module] = [Standardised(0.25, 3.0), nn.Conv2d(channels, width, 3), nn.ReLU()]
    layers += [nn.Conv2d(width, 2 * width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten()]
    features = 2 * width * ((size - 4) // 2) ** 2
    return nn.Sequential(*layers, nn.Linear(features, 128), nn.ReLU(), nn.Dropout(0.5)), 128


class Grouped(nn.Module):
    """Two convolutions, normalised over groups of an image's own channels, a shortcut, and a leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.GroupNorm(4, outputs),
            nn.LeakyReLU(0.1),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.GroupNorm(4, outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.after = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        return self.after(self.branch(x) + self.shortcut(x))


def grouped(channels: int, width: int) -> tuple[nn.Module, int]:
    """Residual blocks without statistics of a batch (group normalisation, Wu and He, 2018)."""
    layers: list[nn.Module] = [Standardised(0.5, 4.0), nn.Conv2d(channels, width, 3, 2, 1, bias=False)]
    for inputs, outputs in pairwise([width, width, 2 * width, 4 * width]):
        layers.append(Grouped(inputs, outputs, 1 if inputs == outputs else 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4 * width
