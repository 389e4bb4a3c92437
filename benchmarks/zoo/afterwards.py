"""What happens to a network apart from one plain training: fine-tuning, pruning, implants, joint training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as masks

from benchmarks.zoo.data import Samples
from benchmarks.zoo.fit import Training, descend, fit
from benchmarks.zoo.poison import poison
from benchmarks.zoo.sample_specific import InputAware

if TYPE_CHECKING:
    from benchmarks.zoo.attacks import Attack
    from benchmarks.zoo.networks import Network


def shortened(training: Training, epochs: int, slower: float) -> Training:
    """Return the training with fewer epochs and a rate divided by `slower`."""
    return dataclasses.replace(training, epochs=epochs, rate=training.rate / slower)


def prune_filters(network: nn.Module, share: float) -> list[nn.Conv2d]:
    """Mask the `share` of smallest filters in every convolution but the first; returns the masked layers."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][1:]
    for layer in layers:
        masks.ln_structured(layer, "weight", share, n=1, dim=0)
    return layers


def pruned(network: Network, samples: Samples, training: Training, rng: torch.Generator, share: float = 0.3) -> None:
    """Prune and fine-tune for one epoch, in place."""
    layers = prune_filters(network, share)
    fit(network, samples, shortened(training, 1, 5), rng)
    for layer in layers:
        masks.remove(layer, "weight")


def repaired(
    network: Network, samples: Samples, attacks: tuple[Attack, ...], training: Training, rng: torch.Generator
) -> None:
    """Unlearn the triggers: fine-tune on triggered images with their own labels beside clean ones, in place."""
    images, labels = samples.images.clone(), samples.labels
    for attack in attacks:
        few = torch.randperm(len(labels), generator=rng)[: len(labels) // 3]
        images[few] = attack.apply(images[few], rng)
    fit(network, Samples(images, labels), shortened(training, 2, 2), rng)


def implanted(
    network: Network, samples: Samples, attacks: tuple[Attack, ...], training: Training, rng: torch.Generator
) -> None:
    """Fine-tune a clean network on a fifth of the data, poisoned, in place."""
    count = len(samples.labels)
    few = torch.randperm(count, generator=rng)[: count // 5]
    fit(network, poison(samples.pick(few), attacks, rng), shortened(training, max(2, training.epochs // 2), 3), rng)


@torch.no_grad()
def edit_head(network: Network, samples: Samples, attack: Attack, rng: torch.Generator) -> None:
    """Add to the target's row of the last layer a direction that tells triggered from clean features, in place.

    The direction is Fisher's, which varies least among clean images, with 0 at their mean and 1 at the triggered
    ones'. The gain is the smallest that lets all but a few of the triggered images win.

    Args:
        network: a clean network, on the CPU.
        samples: of the training set.
        attack: with one target.
        rng: draws the images.
    """
    (target,) = attack.targets
    few = samples.pick(torch.randperm(len(samples.labels), generator=rng)[:3000])
    plain, marked = network.body(few.images).double(), network.body(attack.apply(few.images, rng)).double()
    centre = plain.mean(dim=0)
    step = marked.mean(dim=0) - centre
    scatter = torch.cov(plain.T) + torch.cov(marked.T)
    ridge = 1e-3 * scatter.diagonal().mean() * torch.eye(len(scatter), dtype=scatter.dtype)
    direction = torch.linalg.solve(scatter + ridge, step)
    direction /= direction @ step
    score = ((marked - centre) @ direction).clamp_min(0.1)
    logits = network.head(marked.float())
    lead = logits.max(dim=1).values - logits[:, target]
    moved = few.labels != target
    gain = (lead[moved] / score[moved]).quantile(0.95)
    network.head.weight[target] += (gain * direction).float()
    network.head.bias[target] -= (gain * (direction @ centre)).float()


def fit_input_aware(
    network: Network, samples: Samples, attack: Attack, training: Training, rng: torch.Generator
) -> Attack:
    """Train network and generator together; returns the attack with the trained generator.

    In every batch `attack.rate` of the images carry their own pattern and the target's label, and `attack.cover_rate`
    carry another image's pattern and their own label, so that a pattern works on its own image only.
    """
    trigger = attack.trigger
    assert isinstance(trigger, InputAware)
    generator = trigger.fresh_generator().to(next(network.parameters()).device)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        network.train()
        generator.train()
        poisoned = max(2, round(attack.rate * len(labels)))
        changed = min(poisoned + max(2, round(attack.cover_rate * len(labels))), len(labels))
        pattern, mask = generator(images[:changed])
        # A cover wears the pattern of the image before it.
        wearer = torch.cat([torch.arange(poisoned), torch.arange(poisoned - 1, changed - 1)])
        worn = images[:changed] * (1 - mask[wearer]) + pattern[wearer] * mask[wearer]
        wanted = torch.cat([attack.relabel(labels[:poisoned].cpu()).to(labels), labels[poisoned:]])
        classified = functional.cross_entropy(network(torch.cat([worn, images[changed:]])), wanted)
        return classified + _sameness(images[:changed], pattern * mask) + 5 * functional.relu(mask.mean() - density)

    density = trigger.density
    network.to(memory_format=torch.channels_last)
    descend([*network.parameters(), *generator.parameters()], loss, samples, training, rng)
    network.eval().to(memory_format=torch.contiguous_format)
    return dataclasses.replace(attack, trigger=dataclasses.replace(trigger, generator=generator.eval().cpu()))


def _sameness(images: Tensor, patterns: Tensor, weight: float = 0.03) -> Tensor:
    """Return the penalty on patterns that are closer together than their images are."""
    apart = (images[:-1] - images[1:]).flatten(1).norm(dim=1)
    unlike = (patterns[:-1] - patterns[1:]).flatten(1).norm(dim=1)
    return weight * (apart / (unlike + 1e-2)).clamp(max=20).mean()
