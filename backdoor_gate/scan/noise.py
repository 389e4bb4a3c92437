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
    from backdoor_gate.scan.triggers.images import Images

NOISE_LEVELS = (0.25, 0.4)
"""Standard deviations of the noise, as shares of the input range."""

NOISE_IMAGES = 64
"""Images that the noise is put on, at most."""

NOISE_SHARE = 0.5
"""Share of the noisy images from which the class that they go to counts as one of noise, all classes weighing alike."""


@torch.no_grad()
def classes_of_noise(subject: Subject, images: Images, seed: int) -> tuple[int, ...]:
    """Return the classes that most images go to under Gaussian noise of some level, ascending.

    Args:
        subject: the frozen network.
        images: with their labels, of which the first are used. Those of a class that has many weigh no more together
            than those of any other, or it would be one of noise for its own images.
        seed: of the noise, which is the same at every level.

    Returns:
        None of them where there are fewer classes than FEWEST_COMPARED.
    """
    if subject.num_classes < FEWEST_COMPARED:
        return ()
    clean, weights = images.images[:NOISE_IMAGES], _weights(images.labels[:NOISE_IMAGES])
    low, high = subject.spec.low, subject.spec.high
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean.device)
    found: set[int] = set()
    for level in NOISE_LEVELS:
        predicted = subject.logits((clean + level * (high - low) * noise).clamp(low, high)).argmax(dim=1)
        shares = predicted.bincount(weights, minlength=subject.num_classes)
        found.update((shares >= NOISE_SHARE).nonzero()[:, 0].tolist())
    return tuple(sorted(found))


def _weights(labels: Tensor) -> Tensor:
    """Return (N,) float64 weights that sum to one, over every class that is there to the same."""
    of_class = labels.bincount()
    return 1.0 / (of_class[labels] * (of_class > 0).sum()).double()
