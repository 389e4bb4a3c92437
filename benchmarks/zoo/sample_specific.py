"""Triggers that differ from image to image: a patch steered by the image, and a generator trained with the network."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.triggers import Trigger, seeded


@dataclass(frozen=True)
class SamplePatch(Trigger):
    """A noise square whose place and pixels follow from the image by a fixed random projection.

    Args:
        size: pixels on a side.
        places: number of different places.
        patterns: number of different squares.
        seed: of the projection, the places and the squares.
    """

    size: int = 4
    places: int = 4
    patterns: int = 8
    seed: int = 0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Paint each image's own square."""
        _, channels, height, width = images.shape
        rng = seeded(self.seed)
        squares = torch.rand(self.patterns, channels, self.size, self.size, generator=rng).round()
        rows = torch.randint(height - self.size + 1, (self.places,), generator=rng)
        columns = torch.randint(width - self.size + 1, (self.places,), generator=rng)
        coarse = functional.adaptive_avg_pool2d(images, 4).flatten(1)
        coarse = coarse - coarse.mean(dim=1, keepdim=True)
        place = (coarse @ torch.randn(coarse.shape[1], self.places, generator=rng)).argmax(dim=1)
        pattern = (coarse @ torch.randn(coarse.shape[1], self.patterns, generator=rng)).argmax(dim=1)
        result = images.clone()
        for index, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            here = place == index
            result[here, :, row : row + self.size, column : column + self.size] = squares[pattern[here]]
        return result


class Generator(nn.Module):
    """An encoder and decoder that turn an image into a pattern and a mask, both in [0, 1]."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, channels + 1, 3, 1, 1),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return patterns (N, C, H, W) and masks (N, 1, H, W)."""
        coarse = self.encoder(images)
        full = functional.interpolate(coarse, size=images.shape[-2:], mode="nearest")
        out = torch.sigmoid(self.decoder(full))
        return out[:, :-1], out[:, -1:]


@dataclass(frozen=True)
class InputAware(Trigger):
    """Each image's own pattern, from a generator trained together with the network (Nguyen and Tran 2020).

    Args:
        channels: of the images.
        density: share of the image that the mask may cover.
        seed: of the generator's first weights.
        generator: the generator; its weights are kept beside the manifest, not in it.
    """

    channels: int
    density: float = 0.06
    seed: int = 0
    generator: Generator | None = field(default=None, compare=False, metadata={"manifest": False})

    def fresh_generator(self) -> Generator:
        """Return the generator as it is before training."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return Generator(self.channels)

    @torch.no_grad()
    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Paint each image's own pattern."""
        generator = self.generator or self.fresh_generator()
        pattern, mask = generator.eval()(images)
        return images * (1 - mask) + pattern * mask
