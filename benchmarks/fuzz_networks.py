"""Small networks whose exported graphs hold what graphs of image classifiers hold, for images (N, 1, 8, 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)


def plain() -> nn.Module:
    """Return convolutions, a normalisation, poolings and a linear layer, with an activation in place."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


class Residual(nn.Module):
    """Groups, strides, sums, slices and what is kept in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.grouped, self.strided = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 6, 1, stride=2)
        self.register_buffer("shift", torch.randn(1, 4, 1, 1))
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        active = F.relu(self.norm(self.first(images)))
        branch = torch.cat([active[:, :2], F.leaky_relu(self.grouped(active) + self.shift, 0.1)[:, 2:]], 1)
        branch += active
        pooled = F.adaptive_avg_pool2d(F.gelu(self.strided(branch)), 1).flatten(1)
        return self.head(F.dropout(pooled, 0.3, self.training))


class Probabilities(nn.Module):
    """Images normalised inside, sizes taken from the batch, and a softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(1, 4, 3, padding="same"), nn.GroupNorm(2, 4), nn.Linear(64, 5)
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities."""
        pooled = F.avg_pool2d(F.silu(self.norm(self.first((images - 0.5) / 0.25))), 2) * self.scale.view(1, 4, 1, 1)
        scores = self.head(pooled.permute(0, 2, 3, 1).reshape(images.shape[0], -1))
        return torch.softmax(scores.clamp(-5, 5), dim=1)


class Attention(nn.Module):
    """Patches, positions and one layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.queries, self.norm = nn.Conv2d(1, 8, 4, 4), nn.Linear(8, 24), nn.LayerNorm(8)
        self.places, self.head = nn.Parameter(torch.randn(1, 4, 8)), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
        query, key, value = self.queries(self.norm(tokens)).chunk(3, -1)
        attended = tokens + F.scaled_dot_product_attention(query, key, value)
        return self.head(F.hardtanh(attended.mean(1), -3.0, 3.0))


NETWORKS = (plain, Residual, Probabilities, Attention)
