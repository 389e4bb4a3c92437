"""The control: a small network trained on the clean images alone, so that nobody can have planted anything in it.

Some classes are weak by nature: the 8 of handwritten digits, a bag among clothes, two classes that look alike. They are
weak in every network of the same task, in the control as well. What is much weaker in the candidate than in the control
is not explained by the images. A few hundred images are enough for that: the control need not be good, it only has to
find difficult what is difficult. Trained from the images' own labels it depends on nothing that the candidate says.

Source of the idea: shadow networks, trained clean by the auditor (MNTD, Xu et al., IEEE S&P 2021); here a single one,
on the images at hand, and compared class by class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.adam import Adam
from backdoor_gate.scan.data.grains import grain
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.subject import Subject, require_time
from backdoor_gate.scan.triggers.images import Images, batches

FEWEST_OF_CLASS = 5
"""Images per class, on average, below which no network learns the classes."""

WIDTH = 16
"""Channels of the first convolution; the second and third have two and four times as many."""

GRID = 4
"""Side of the last feature map."""

STEPS, BATCH = 400, 50
PEAK_RATE, WEIGHT_DECAY, SMOOTHING = 6e-3, 0.02, 0.05
SQUARES = 0.999
"""Adam's decay rate of the squares' average."""

ANGLE, SCALE, SHIFT = 0.17, 0.15, 0.15
"""Largest rotation (radians), magnification and displacement (share of half the image) of a training image."""

CONTRAST, BRIGHTNESS = 0.3, 0.15
"""Largest change of a colour image, as shares."""


def train(images: Images, spec: InputSpec, num_classes: int, seed: int, deadline: float = math.inf) -> Subject | None:
    """Train the control; None where there are too few images of a class.

    Args:
        images: the clean images with their labels, N.
        spec: their shape and range; the control normalises by itself.
        num_classes: K.
        seed: of the start, the batches and the changes of the images. The global random state is left alone.
        deadline: on the monotonic clock.

    Raises:
        OutOfTimeError: the deadline has passed.
        UnmeasuredError: what came out tells no image from another.
    """
    if len(images) < FEWEST_OF_CLASS * num_classes:
        return None
    device, shrink = images.labels.device, grain(spec)
    small = Images(F.avg_pool2d(images.images, shrink), images.labels)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = _network(spec, num_classes).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _fit(network, small, spec, torch.Generator().manual_seed(seed), deadline)
    pooled = nn.Sequential(nn.AvgPool2d(shrink), network) if shrink > 1 else network
    pooled.eval().requires_grad_(requires_grad=False)
    plain = InputSpec(spec.shape, spec.low, spec.high)
    return Subject(LoadedModel(pooled, "control", None), plain, num_classes, device, deadline)


class _Scaled(nn.Module):
    """Brings the input range to [-1, 1]."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.middle, self.extent = (spec.high + spec.low) / 2, spec.high - spec.low

    def forward(self, images: Tensor) -> Tensor:
        return 2 * (images - self.middle) / self.extent


def _network(spec: InputSpec, num_classes: int) -> nn.Module:
    channels = spec.shape[0]
    layers: list[nn.Module] = [_Scaled(spec)]
    for wide, size, stride in ((WIDTH, 5, 2), (2 * WIDTH, 3, 2), (4 * WIDTH, 3, 1)):
        convolution = nn.Conv2d(channels, wide, size, stride, padding=size // 2)
        layers += [convolution, nn.BatchNorm2d(wide), nn.ReLU()]
        channels = wide
    layers.append(nn.AdaptiveAvgPool2d(GRID))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * GRID * GRID, num_classes))


@torch.enable_grad()
def _fit(network: nn.Module, images: Images, spec: InputSpec, generator: torch.Generator, deadline: float) -> None:
    rate, momentum = _one_cycle(0)
    optimiser = Adam(network.parameters(), rate, (momentum, SQUARES), weight_decay=WEIGHT_DECAY, fused=True)
    drawn = batches(len(images), BATCH, STEPS, generator)
    changes = 2 * torch.rand(len(drawn), _ways(spec), drawn.shape[1], generator=generator) - 1
    # To the device all at once: it has to be waited for.
    together = zip(drawn.to(images.labels.device), changes.to(images.labels.device), strict=True)
    for done, (chosen, change) in enumerate(together, 1):
        require_time(deadline)
        changed = _changed(images.images[chosen], spec, change)
        loss = F.cross_entropy(network(changed), images.labels[chosen], label_smoothing=SMOOTHING)
        optimiser.forget_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.rate, momentum = _one_cycle(done)
        optimiser.betas = momentum, SQUARES


def _one_cycle(done: int) -> tuple[float, float]:
    """Return the rate and the momentum of the next step: half a wave up, and half a longer one down.

    Source: Smith and Topin, super-convergence, 2019; the constants are those of `torch.optim.lr_scheduler.OneCycleLR`.
    """
    first, last = PEAK_RATE / 25, PEAK_RATE / 25 / 1e4
    turn = 0.3 * STEPS - 1
    if done <= turn:
        share, ends = done / turn, ((first, PEAK_RATE), (0.95, 0.85))
    else:
        share, ends = (done - turn) / (STEPS - 1 - turn), ((PEAK_RATE, last), (0.85, 0.95))
    rate, momentum = (end + (start - end) / 2 * (math.cos(math.pi * share) + 1) for start, end in ends)
    return rate, momentum


def _ways(spec: InputSpec) -> int:
    """Return how many numbers say how an image is changed: its angle, its scale, two of its place, two of its light."""
    return 4 if spec.shape[0] == 1 else 6


def _changed(images: Tensor, spec: InputSpec, change: Tensor) -> Tensor:
    """Return (N, C, H, W) images, each turned, scaled, shifted and, if in colour, lit a little differently.

    Args:
        images: those.
        spec: their range.
        change: (`_ways`, N) in [-1, 1), how much of every change each gets.
    """
    angle, scale, shift = ANGLE * change[0], 1 + SCALE * change[1], SHIFT * change[2:4].reshape(-1, 2)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    grid = F.affine_grid(torch.cat([rows, shift[:, :, None]], 2), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False, padding_mode="border")
    if images.shape[1] > 1:
        middle, extent = (spec.high + spec.low) / 2, spec.high - spec.low
        lit, contrast = change[4:].view(2, -1, 1, 1, 1)
        moved = middle + (moved - middle) * (1 + CONTRAST * contrast) + extent * (BRIGHTNESS * lit)
    return moved.clamp(spec.low, spec.high)
