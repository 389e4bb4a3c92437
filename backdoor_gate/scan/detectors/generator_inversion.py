"""Generator inversion: triggers that differ from image to image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.generated import Generated

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.groups import Inverted
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.subject import Subject
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily

NOISE_LEVELS = (0.25, 0.4)
"""Standard deviations of the noise, as shares of the input range."""

NOISE_IMAGES = 64
"""Held-out images that the noise is put on, at most."""

NOISE_SHARE = 0.5
"""Share of the noisy images from which the class they go to is the network's word for whatever is unusual."""


class GeneratorInversion(InversionDetector):
    """Faintest signal per class that a small network generates from each image.

    A class that plain noise leads to is left out: any large enough change leads there, and a generator finds one that
    is smaller.
    """

    name: ClassVar[str] = "generator_inversion"
    family: ClassVar[type[TriggerFamily]] = Generated

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        noisy = len(NOISE_LEVELS) * min(NOISE_IMAGES, len(context.probes.held_out))
        return super().planned_passes(context) + noisy

    def admitted(self, context: Context, inverted: Inverted) -> Inverted:
        """Return the triggers with those to a class of noise taken for not working."""
        images = context.probes.held_out.images[:NOISE_IMAGES]
        noise_classes = classes_of_noise(context.subject, images, context.seed).cpu()
        return replace(inverted, works=inverted.works & ~noise_classes[inverted.arms.target])


@torch.no_grad()
def classes_of_noise(subject: Subject, images: Tensor, seed: int) -> Tensor:
    """Return which classes most images go to under Gaussian noise of some level, (K,) bool.

    Args:
        subject: the frozen network.
        images: (N, C, H, W) float32 in the input range.
        seed: of the noise, which is the same at every level.
    """
    low, high = subject.spec.low, subject.spec.high
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images.device)
    found = torch.zeros(subject.num_classes, dtype=torch.bool, device=images.device)
    for level in NOISE_LEVELS:
        predicted = subject.logits((images + level * (high - low) * noise).clamp(low, high)).argmax(dim=1)
        found |= predicted.bincount(minlength=subject.num_classes) >= NOISE_SHARE * len(images)
    return found
