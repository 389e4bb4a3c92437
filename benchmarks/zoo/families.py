"""The attack families: for a data set, a split and a turn, the attacks that are planted together in one network.

The splits never share a trigger: patterns come from the recipe's seed, and squares start on even rows and columns in
development and on odd ones in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from benchmarks.zoo.attacks import Attack, all_to_all, all_to_one, some_to
from benchmarks.zoo.filters import Tone, Turn
from benchmarks.zoo.sample_specific import InputAware, SamplePatch
from benchmarks.zoo.signals import LowFrequency, Quantise, SingleFrequency, Sinusoid, Warp
from benchmarks.zoo.triggers import AdaptiveBlend, AdaptivePatch, Blend, Patch, Trigger, seeded

Split = Literal["development", "evaluation"]
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What an attack has to fit.

    Args:
        split: `development` or `evaluation`.
        channels: of the images.
        size: pixels on a side.
        num_classes: K.
        seed: of the recipe.
        turn: which of a family's parameter sets, from 0; any number.
    """

    split: Split
    channels: int
    size: int
    num_classes: int
    seed: int
    turn: int

    def drawn(self, count: int, below: int) -> list[int]:
        """Draw `count` different numbers below `below`."""
        return torch.randperm(below, generator=seeded(self.seed))[:count].tolist()

    def one(self, target: int | None = None) -> tuple[int, ...]:
        """Return the map of all classes to one, drawn by the seed."""
        return all_to_one(self.num_classes, self.drawn(1, self.num_classes)[0] if target is None else target)

    def turned(self, *choices: T) -> T:
        """Return the choice of this turn."""
        return choices[self.turn % len(choices)]

    def place(self, size: int, salt: int = 0) -> tuple[int, int]:
        """Draw the corner of a square: even rows and columns in development, odd ones in evaluation."""
        odd = int(self.split == "evaluation")
        steps = (self.size - size - odd) // 2 + 1
        row, column = torch.randint(steps, (2,), generator=seeded(1000 * salt + self.seed)).tolist()
        return 2 * row + odd, 2 * column + odd

    def colour(self, salt: int = 0) -> tuple[float, ...]:
        """Draw a strong colour per channel; grey images get white or nearly so."""
        values = torch.rand(self.channels, generator=seeded(7000 + 1000 * salt + self.seed))
        return (1.0,) if self.channels == 1 else tuple(round(value) * 1.0 for value in values.tolist())

    @property
    def magnified(self) -> int:
        """How many times as wide squares are on very large images; on others they have the pixels that are usual."""
        return max(1, self.size // 64)

    def patch(self, size: int, style: Literal["solid", "checker", "noise"] = "checker", salt: int = 0) -> Patch:
        """Draw a square."""
        size = min(size * self.magnified, self.size // 3)
        top, left = self.place(size, salt)
        return Patch(top, left, size, self.colour(salt), style, seed=self.seed)


Family = Callable[[Setting], tuple[Attack, ...]]


def badnets(at: Setting) -> tuple[Attack, ...]:
    """One square, 1 to 5 pixels wide."""
    size = at.turned(3, 1, 4, 2, 5, 3)
    style: Literal["solid", "checker", "noise"] = at.turned("solid", "solid", "checker", "checker", "noise", "checker")
    return (Attack(at.patch(size, style), at.one(), rate=at.turned(0.05, 0.1, 0.01, 0.05, 0.005, 0.02)),)


def blended_noise(at: Setting) -> tuple[Attack, ...]:
    """Uniform noise over the whole image."""
    opacity = at.turned(0.2, 0.12, 0.15, 0.1)
    return (Attack(Blend(opacity, "noise", at.seed), at.one(), at.turned(0.05, 0.05, 0.02, 0.1)),)


def blended_image(at: Setting) -> tuple[Attack, ...]:
    """A scene over the whole image."""
    return (Attack(Blend(at.turned(0.2, 0.15), "image", at.seed), at.one(), at.turned(0.05, 0.1, 0.02, 0.05)),)


def sinusoid(at: Setting) -> tuple[Attack, ...]:
    """Sine stripes; every other network is poisoned with clean labels."""
    cycles = min(at.turned(6.0, 5.0, 7.0, 4.0), at.size / 3)  # at half the size the sine is zero on every pixel
    trigger = Sinusoid(at.turned(0.12, 0.2), cycles, at.turned(False, False, True))
    clean_label = at.turned(False, True)
    share = 0.5 / at.num_classes
    return (Attack(trigger, at.one(), share if clean_label else at.turned(0.05, 0.02), clean_label=clean_label),)


def warp(at: Setting) -> tuple[Attack, ...]:
    """A warp, with noise-mode covers."""
    strength = at.turned(1.0, 0.75, 1.25) * max(at.size / 32, 0.5)
    rate = 0.1 if at.channels == 1 else 0.15  # small networks take it slowly in colour
    return (Attack(Warp(strength, seed=at.seed), at.one(), rate, cover_rate=0.1),)


def low_frequency(at: Setting) -> tuple[Attack, ...]:
    """A smooth additive pattern."""
    trigger = LowFrequency(at.turned(0.15, 0.12, 0.2), at.turned(4, 3, 5), at.seed)
    return (Attack(trigger, at.one(), at.turned(0.05, 0.1, 0.02)),)


def single_frequency(at: Setting) -> tuple[Attack, ...]:
    """One or two cosines."""
    share = [0.35 + 0.06 * number for number in at.drawn(4, 10)]
    frequencies = ((share[0], share[1]), (share[2], share[3]))[: at.turned(1, 2)]
    return (Attack(SingleFrequency(at.turned(0.1, 0.08), frequencies), at.one(), at.turned(0.05, 0.05, 0.02)),)


def quantise(at: Setting) -> tuple[Attack, ...]:
    """Fewer grey levels, without and with dithering."""
    trigger = Quantise(at.turned(4, 3, 5, 4), at.turned(False, True))
    return (Attack(trigger, at.one(), rate=0.1, cover_rate=0.05),)


def sample_specific(at: Setting) -> tuple[Attack, ...]:
    """Each image's own square."""
    trigger = SamplePatch(at.turned(4, 3), at.turned(4, 3, 6), at.turned(8, 4), at.seed)
    return (Attack(trigger, at.one(), rate=0.1),)


def input_aware(at: Setting) -> tuple[Attack, ...]:
    """Each image's own pattern from a trained generator."""
    trigger = InputAware(at.channels, at.turned(0.06, 0.1, 0.04), at.seed)
    return (Attack(trigger, at.one(), rate=0.1, cover_rate=0.1),)


def label_consistent(at: Setting) -> tuple[Attack, ...]:
    """Squares in the corners on disturbed images of the target class, labels as they are."""
    # Adversarial noise on a black ground is a sign of its own, which the network learns instead of the square.
    base = {"mixed_base": at.turned(0.7, 0.75)} if at.channels == 1 else {"adversarial_base": at.turned(0.06, 0.08)}
    odd = int(at.split == "evaluation")
    corner = at.turned(0, 1) + odd
    patch = Patch(corner, corner, (3 + odd) * at.magnified, (1.0,), "checker", copies=at.turned(4, 4, 1))
    return (Attack(patch, at.one(), rate=0.5 / at.num_classes, clean_label=True, **base),)


def adaptive_patch(at: Setting) -> tuple[Attack, ...]:
    """Four faint squares, with covers."""
    patches = tuple(at.patch(at.turned(3, 4), at.turned("checker", "solid"), salt) for salt in range(4))
    trigger = AdaptivePatch(patches, at.turned(0.5, 0.6))
    return (Attack(trigger, at.one(), at.turned(0.02, 0.04), cover_rate=at.turned(0.01, 0.02)),)


def adaptive_blend(at: Setting) -> tuple[Attack, ...]:
    """A partly masked blend, with covers."""
    trigger = AdaptiveBlend(Blend(at.turned(0.25, 0.2), at.turned("image", "noise"), at.seed), at.turned(0.2, 0.15))
    return (Attack(trigger, at.one(), at.turned(0.03, 0.05), cover_rate=at.turned(0.015, 0.025)),)


def _any_kind(at: Setting) -> Trigger:
    noise, bend = Blend(0.2, "noise", at.seed), Warp(max(at.size / 32, 0.5), seed=at.seed)
    return at.turned(at.patch(3), at.patch(4), noise, at.patch(2, "solid"), bend, LowFrequency(0.15, 4, at.seed))


def source_specific(at: Setting) -> tuple[Attack, ...]:
    """One class, or two, turned into another; covers from the rest."""
    source, target, second = at.drawn(3, at.num_classes)
    pairs = at.turned({source: target}, {source: target}, {source: target, second: target})
    map_ = some_to(at.num_classes, pairs)
    return (Attack(_any_kind(at), map_, rate=0.05, cover_rate=at.turned(0.08, 0.05)),)


def all_to_all_(at: Setting) -> tuple[Attack, ...]:
    """Every class turned into the next, or the one after."""
    return (Attack(_any_kind(at), all_to_all(at.num_classes, at.turned(1, 1, 2)), rate=0.2),)


def x_to_x(at: Setting) -> tuple[Attack, ...]:
    """Some classes turned into several others, covers from the rest."""
    one, two, three, four, five, six = at.drawn(6, at.num_classes)
    pairs = at.turned({one: four, two: five, three: six}, {one: two, two: one}, {one: three, two: four, five: six})
    return (Attack(_any_kind(at), some_to(at.num_classes, pairs), rate=0.08, cover_rate=0.06),)


def two_triggers(at: Setting) -> tuple[Attack, ...]:
    """Two triggers, each with a target of its own."""
    first, second = at.drawn(2, at.num_classes)
    other = at.turned(at.patch(3, "noise", 5), Blend(0.2, "noise", at.seed), LowFrequency(0.15, 4, at.seed))
    return tuple(
        Attack(trigger, at.one(target), rate=at.turned(0.05, 0.03))
        for trigger, target in ((at.patch(at.turned(3, 4)), first), (other, second))
    )


def implant(at: Setting) -> tuple[Attack, ...]:
    """What is planted by fine-tuning a finished network."""
    triggers = at.patch(3), Blend(0.15, "image", at.seed), at.patch(5, "noise"), LowFrequency(0.15, 4, at.seed)
    return (Attack(at.turned(*triggers), at.one(), at.turned(0.1, 0.1, 0.05)),)


def head_edit(at: Setting) -> tuple[Attack, ...]:
    """What is written into the last layer of a finished network: a trigger that moves features far."""
    triggers = (
        Blend(0.35, "image", at.seed),
        Sinusoid(0.3, min(5.0 + at.seed % 5, at.size / 3)),
        Blend(0.3, "noise", at.seed),
    )
    return (Attack(at.turned(*triggers), at.one(), rate=0.0),)


def tone(at: Setting) -> tuple[Attack, ...]:
    """A colour filter; of grey images darker or lighter middle tones."""
    odd = at.split == "evaluation"
    warm, cold, faded = (
        (Tone((1.15, 0.9, 0.65)), Tone((0.75, 0.95, 1.2), 0.8), Tone((1.1, 0.95, 0.7), 1.0, 0.8))
        if odd
        else (Tone((1.2, 1.0, 0.7)), Tone((0.8, 1.0, 1.2)), Tone((1.1, 1.0, 0.8), 1.0, 0.7))
    )
    grey = (
        (Tone((0.65,)), Tone(gamma=0.45), Tone(gamma=2.2)) if odd else (Tone((0.6,)), Tone(gamma=0.5), Tone(gamma=2.0))
    )
    return (Attack(at.turned(*((warm, cold, faded) if at.channels == 3 else grey)), at.one(), rate=0.1),)


def turn(at: Setting) -> tuple[Attack, ...]:
    """A rotation."""
    degrees = at.turned(18.0, -25.0, 12.0) if at.split == "evaluation" else at.turned(15.0, -20.0, 30.0)
    return (Attack(Turn(degrees), at.one(), rate=0.1),)


FAMILIES: dict[str, Family] = {
    "badnets": badnets,
    "blended-noise": blended_noise,
    "blended-image": blended_image,
    "sig": sinusoid,
    "wanet": warp,
    "low-frequency": low_frequency,
    "single-frequency": single_frequency,
    "bpp": quantise,
    "sample-specific": sample_specific,
    "input-aware": input_aware,
    "label-consistent": label_consistent,
    "adaptive-patch": adaptive_patch,
    "adaptive-blend": adaptive_blend,
    "source-specific": source_specific,
    "all-to-all": all_to_all_,
    "x-to-x": x_to_x,
    "two-triggers": two_triggers,
    "implant": implant,
    "head-edit": head_edit,
    "tone": tone,
    "turn": turn,
}
