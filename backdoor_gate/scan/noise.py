"""Which classes plain noise leads to: the network's word for whatever is unusual.

A network takes images unlike any that it has seen for some class, the 8 of most networks for handwritten digits. Any
large enough change leads there, and an inversion finds one that is smaller: such a class has the weakest additive
trigger of most clean networks. The verdict therefore judges it by limits of its own, and leaves it out when the other
classes are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backdoor_gate.catalogue import FEWEST_COMPARED

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.scan.network.subject import Subject

NOISE_LEVELS = (0.25, 0.4)
"""Standard deviations of the noise, as shares of the input range."""

NOISE_IMAGES = 64
"""Images that the noise is put on, at most."""

NOISE_SHARE = 0.5
"""Share of the noisy images from which the class that they go to counts as one of noise."""


@torch.no_grad()
def classes_of_noise(subject: Subject, images: Tensor, seed: int) -> tuple[int, ...]:
    """Return the classes that most images go to under Gaussian noise of some level, ascending.

    Args:
        subject: the frozen network.
        images: (N, C, H, W) float32 in the input range, of which the first are used.
        seed: of the noise, which is the same at every level.

    Returns:
        None of them where there are fewer classes than FEWEST_COMPARED.
    """
    if subject.num_classes < FEWEST_COMPARED:
        return ()
    images = images[:NOISE_IMAGES]
    low, high = subject.spec.low, subject.spec.high
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images.device)
    found: set[int] = set()
    for level in NOISE_LEVELS:
        predicted = subject.logits((images + level * (high - low) * noise).clamp(low, high)).argmax(dim=1)
        reached = predicted.bincount(minlength=subject.num_classes) >= NOISE_SHARE * len(images)
        found.update(reached.nonzero()[:, 0].tolist())
    return tuple(sorted(found))
