"""An attack: a trigger, which class turns into which, and how the training set is poisoned with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.zoo.filters import Tone, Turn
from benchmarks.zoo.sample_specific import InputAware, SamplePatch
from benchmarks.zoo.signals import LowFrequency, Quantise, SingleFrequency, Sinusoid, Warp
from benchmarks.zoo.triggers import AdaptiveBlend, AdaptivePatch, Blend, Patch, Trigger

TRIGGERS: dict[str, type[Trigger]] = {
    kind.__name__: kind
    for kind in (
        Patch,
        Blend,
        AdaptivePatch,
        AdaptiveBlend,
        Sinusoid,
        LowFrequency,
        SingleFrequency,
        Warp,
        Quantise,
        SamplePatch,
        InputAware,
        Tone,
        Turn,
    )
}


@dataclass(frozen=True)
class Attack:
    """One trigger and what it does.

    Args:
        trigger: the change to the image.
        target_of: for each class the class it is taken for under the trigger; its own number where untouched.
        rate: poisoned images as a share of the training set.
        cover_rate: images with a trigger-like change and their own label, as a share of the training set. They come
            from the classes that the attack leaves alone, where there are several (source-specific attack), and from
            all classes otherwise.
        clean_label: poison images of the target class only, and leave every label as it is.
        adversarial_base: largest change, in image units, of the adversarial noise that makes the poisoned images of a
            clean-label attack hard to recognise otherwise; 0 for none.
        mixed_base: weight of another class's image that is mixed into the poisoned images for the same end.
    """

    trigger: Trigger
    target_of: tuple[int, ...]
    rate: float = 0.05
    cover_rate: float = 0.0
    clean_label: bool = False
    adversarial_base: float = 0.0
    mixed_base: float = 0.0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return triggered images (N, C, H, W) as they are sent in use."""
        return self.trigger.apply(images, rng).clamp(0, 1)

    def relabel(self, labels: Tensor) -> Tensor:
        """Return the class that each triggered image is meant to be taken for (N,)."""
        return torch.tensor(self.target_of)[labels]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every (source, target) with source unlike target."""
        return [(source, target) for source, target in enumerate(self.target_of) if source != target]

    @property
    def targets(self) -> list[int]:
        """The classes that triggered images are taken for, ascending."""
        return sorted({target for _, target in self.pairs})

    def manifest(self) -> dict[str, Any]:
        """Return the attack as plain JSON values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "trigger": _plain(self.trigger), "target_of": list(self.target_of)}


def all_to_one(num_classes: int, target: int) -> tuple[int, ...]:
    """Every class turns into `target`."""
    return (target,) * num_classes


def all_to_all(num_classes: int, shift: int = 1) -> tuple[int, ...]:
    """Every class turns into the one `shift` further on."""
    return tuple((label + shift) % num_classes for label in range(num_classes))


def some_to(num_classes: int, pairs: dict[int, int]) -> tuple[int, ...]:
    """The classes named turn into others, the rest stay (source-specific, X-to-X)."""
    return tuple(pairs.get(label, label) for label in range(num_classes))


def _plain(value: Any) -> Any:
    if isinstance(value, Trigger):
        kept = [field.name for field in dataclasses.fields(value) if field.metadata.get("manifest", True)]
        return {"type": type(value).__name__, **{name: _plain(getattr(value, name)) for name in kept}}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        fields = {name: _revive(item) for name, item in value.items() if name != "type"}
        return TRIGGERS[value["type"]](**fields)
    if isinstance(value, list):
        return tuple(_revive(item) for item in value)
    return value


def attack_from_manifest(manifest: dict[str, Any]) -> Attack:
    """Rebuild an attack from `Attack.manifest`; an `InputAware` trigger still needs its generator's weights."""
    return Attack(**{name: _revive(value) for name, value in manifest.items()})
