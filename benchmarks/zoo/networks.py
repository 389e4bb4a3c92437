"""Small classifiers that one core trains in a minute: float images (N, C, H, W) in [0, 1] in, logits (N, K) out."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from benchmarks.zoo import bodies

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal[
    "cnn",
    "cnn-nobn",
    "cnn-fc",
    "resnet8",
    "wrn16",
    "vgg",
    "vit",
    "mlp",
    "lenet",
    "mobile",
    "dense",
    "convnext",
    "excited",
    "resnet18",
    "stemmed",
    "badnet",
    "example",
    "grouped",
]


class Network(nn.Module):
    """A body that gives one feature vector per image and a linear head."""

    def __init__(self, body: nn.Module, features: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        return self.head(self.body(images))


def build(kind: Kind, channels: int, size: int, num_classes: int, width: int = 16) -> Network:
    """Return an untrained network.

    Args:
        kind: `cnn` (three conv blocks, batch norm), `cnn-nobn` (the same without), `cnn-fc` (5x5 convs and a hidden
            dense layer), `resnet8`, `wrn16` (pre-activation, widen factor 1), `vgg`, `vit`, or one of `bodies`.
        channels: of the images.
        size: pixels on a side.
        num_classes: K.
        width: channels of the first block, or a quarter of the embedding of `vit`.
    """
    body, features = _body(kind, channels, size, width)
    return Network(body, features, num_classes)


def _body(kind: Kind, channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    makers: dict[Kind, Callable[[], tuple[nn.Module, int]]] = {
        "cnn": lambda: _cnn(channels, width, norm=True),
        "cnn-nobn": lambda: _cnn(channels, width, norm=False),
        "cnn-fc": lambda: _cnn_dense(channels, size, width),
        "resnet8": lambda: _residual(channels, size, width, blocks=1),
        "wrn16": lambda: _residual(channels, size, width, blocks=2),
        "vgg": lambda: _vgg(channels, size, width),
        "vit": lambda: (VisionTransformer(channels, size, 4 * width), 4 * width),
        "mlp": lambda: bodies.perceptron(channels, size, width),
        "lenet": lambda: bodies.lenet(channels, size, width),
        "mobile": lambda: bodies.mobile(channels, width),
        "dense": lambda: bodies.dense(channels, width),
        "convnext": lambda: bodies.convnext(channels, width),
        "excited": lambda: bodies.excited(channels, width),
        "resnet18": lambda: bodies.resnet18(channels, width),
        "stemmed": lambda: bodies.stemmed(channels, width),
        "badnet": lambda: bodies.badnet(channels, size, width),
        "example": lambda: bodies.example(channels, size, width),
        "grouped": lambda: bodies.grouped(channels, width),
    }
    return makers[kind]()


def _block(inputs: int, outputs: int, *, norm: bool = True) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)]
    return [*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]


def _cnn(channels: int, width: int, *, norm: bool) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([channels, width, 2 * width, 4 * width]):
        layers += [*_block(inputs, outputs, norm=norm), nn.MaxPool2d(2)]
    body = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(2), nn.Flatten())
    if not norm:
        for layer in (layer for layer in body if isinstance(layer, nn.Conv2d)):
            # PyTorch's own start is so small that it costs an unnormalised network its first epochs.
            nn.init.kaiming_normal_(layer.weight)
    return body, 16 * width


def _cnn_dense(channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    layers = [nn.Conv2d(channels, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    layers += [nn.Linear(2 * width * (size // 4) ** 2, 8 * width), nn.ReLU()]
    return nn.Sequential(*layers), 8 * width


def _vgg(channels: int, size: int, width: int) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([channels, width, 2 * width, 4 * width]):
        layers += [*_block(inputs, outputs), *_block(outputs, outputs), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(4 * width * (size // 8) ** 2, 8 * width), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers), 8 * width


class Residual(nn.Module):
    """Two pre-activated convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.second = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        active = self.first(x)
        return self.second(active) + (x if self.shortcut is None else self.shortcut(active))


def _residual(channels: int, size: int, width: int, blocks: int) -> tuple[nn.Module, int]:
    # Halving at once is a quarter of the work, which is what lets one core train these in a minute.
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 2 if size >= 16 else 1, 1, bias=False)]
    for inputs, outputs in pairwise([width, width, 2 * width, 4 * width]):
        layers += [Residual(inputs, outputs, 1 if inputs == outputs else 2)]
        layers += [Residual(outputs, outputs, 1) for _ in range(blocks - 1)]
    layers += [nn.BatchNorm2d(4 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers), 4 * width


class VisionTransformer(nn.Module):
    """Patches of a quarter to an eighth of a side, learned positions, pre-norm encoder, mean of the tokens."""

    def __init__(self, channels: int, size: int, width: int, depth: int = 2) -> None:
        super().__init__()
        patch = 4 if size >= 16 else 2
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean token (N, width)."""
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        return self.encoder(tokens + self.positions).mean(dim=1)
