# ruff: noqa: D102 - `forward` needs no word in any of them.
"""Networks of every family that a vision pipeline exports, a few thousand weights each, for images (N, 3, 16, 16)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as every network's source spells it

CLASSES = 10
SHAPE = (3, 16, 16)


class Plain(nn.Module):
    """VGG-like: convolutions, pooling, two linear layers, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class Normed(nn.Module):
    """Small CNN with batch normalisation, and the images normalised inside by buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, CLASSES)
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.2]).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std / torch.tensor(1.5)
        x = F.adaptive_avg_pool2d(F.relu(self.bn(self.conv(x))), 1)
        return self.fc(F.dropout(x.flatten(1), 0.3, self.training))


class Block(nn.Module):
    """Basic residual block with in-place additions."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        y += self.shortcut(x)
        return F.relu(y)


class Residual(nn.Module):
    """ResNet with a view whose size is the batch's."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), Block(8, 8, 1), Block(8, 16, 2))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(self.layers((x - 0.5) / 0.25), 8)
        return self.fc(y.view(y.size(0), -1))


class Wide(nn.Module):
    """WRN-like: activation before convolution, dropout inside the block, log-probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(16), nn.BatchNorm2d(16)
        self.stem, self.conv1 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1)
        self.conv2, self.skip = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(8, 16, 1, 2)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.stem(x)))
        z = F.dropout(F.relu(self.bn2(self.conv1(y))), 0.3, self.training)
        y = torch.add(self.skip(y), self.conv2(z))
        y = F.leaky_relu(self.bn3(y), 0.1).mean([2, 3])
        return F.log_softmax(self.fc(y), dim=1)


class Mobile(nn.Module):
    """MobileNetV2-like: depthwise convolutions, ReLU6, hard swish, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Conv2d(8, 8, 3, 1, 1, groups=8),
            nn.BatchNorm2d(8), nn.Hardswish(inplace=True), nn.Conv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.dropout, self.fc = nn.Dropout(0.2), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        return self.fc(self.dropout(y.reshape(y.shape[0], -1)))


class Transformer(nn.Module):
    """ViT: patches, class token, positions, encoder layers with scaled dot-product attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.positions = nn.Parameter(torch.rand(1, 1, 16)), nn.Parameter(torch.rand(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), y], dim=1) + self.positions
        return self.fc(self.norm(self.encoder(y))[:, 0])


class Attention(nn.Module):
    """MultiheadAttention with weights returned, so with batched matrix products and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 16, 4, 4), nn.MultiheadAttention(16, 2)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).permute(2, 0, 1)
        return self.fc((y + self.attention(y, y, y)[0]).mean(0))


class ConvNext(nn.Module):
    """ConvNeXt-like: large depthwise kernel, layer normalisation on permuted axes, GELU, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.depthwise = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm, self.up, self.down = nn.LayerNorm(16, 1e-6), nn.Linear(16, 32), nn.Linear(32, 16)
        self.scale, self.fc = nn.Parameter(torch.full((16,), 0.5)), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        y = self.down(F.gelu(self.up(self.norm(self.depthwise(x).permute(0, 2, 3, 1))))) * self.scale
        return self.fc((x + y.permute(0, 3, 1, 2)).mean((-2, -1)))


class Excited(nn.Module):
    """Squeeze-and-excitation, upsampling, a 1x1 convolution as last layer, probabilities out, in-place arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.reduce, self.expand = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.head = nn.Conv2d(16, CLASSES, 1)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.conv(x.float().sub(self.mean).div_(0.3)))
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(y, 1)))))
        y = F.interpolate(F.max_pool2d(y * gate, 2), size=8, mode="bilinear")
        return F.softmax(self.head(y).mean([2, 3]), dim=1)


class Odd(nn.Module):
    """What is left: group and instance norm, chunks, shuffles, masks, guards on the batch, a normalised last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group, self.instance = nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.InstanceNorm2d(16)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = F.leaky_relu(self.instance(self.group(self.conv(x))), 0.1)
        if n < 1000:
            y = y * 2
        a, b = y.chunk(2, 1)
        y = F.pad(torch.cat([a * b.sigmoid(), b.masked_fill(b < 0, float("-inf")).clamp(-1, 1)], dim=1), (1, 1, 1, 1))
        y = y.view(n, 4, 4, *y.shape[2:]).transpose(1, 2).reshape(n, 16, -1).amax(-1)
        return F.linear(F.normalize(y), F.normalize(self.fc.weight), self.fc.bias)


ALL = (Plain, Normed, Residual, Wide, Mobile, Transformer, Attention, ConvNext, Excited, Odd)
