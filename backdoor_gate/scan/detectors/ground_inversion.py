"""Ground inversion: the faintest signals on images with nothing in them but what the network needs to see a class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.records import Cost, Evidence, Measured
from backdoor_gate.scan.data.synthetic import Ground, planned_passes, synthetic
from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.frequencies import Frequencies

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily

PER_CLASS = 10
"""Images per class and half: with ten classes as many as a trigger is settled on."""

WHITE, NEAR = 0.2, 0.04
"""Share of a usual image's values, and how near the upper end of the range they are, from which images lie on white."""


class GroundInversion(InversionDetector):
    """Faintest additive signal of few frequencies per class, on images that the network makes itself.

    Real images hold a class fast, and a trigger has to overcome that. On an empty ground there is little to overcome:
    what answers to any signal at all does so here. Without clean images every search is on such images, and
    `frequency_inversion` is this one.

    The ground is plain, whatever the network makes of it. Photographs have none: scenery is a class of its own to some
    networks, blue road signs, and any signal leads back there; on black, some signal leads somewhere.
    """

    name: ClassVar[str] = "ground_inversion"
    family: ClassVar[type[TriggerFamily]] = Frequencies
    controlled: ClassVar[bool] = False

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        return super().planned_passes(context) + planned_passes(context.subject, PER_CLASS)

    def planned_leading(self, context: Context) -> int:
        """Estimate those that take a gradient."""
        return super().planned_leading(context) + planned_passes(context.subject, PER_CLASS)

    def measure(self, context: Context) -> Evidence:
        """Make the images, and invert one arm per class on them."""
        ground = plain_ground(context.probes.optimise.images, context.subject.spec)
        made = synthetic(context.subject, context.seed, PER_CLASS, ground)
        # It knows no real images: not what its trigger does to them, nor where noise on them leads.
        evidence = super().measure(replace(context, probes=made, keep=lambda _: None, noise_classes=()))
        return replace(evidence, cost=Cost()) if isinstance(evidence, Measured) else evidence


def plain_ground(images: Tensor, spec: InputSpec) -> Ground:
    """Return what images (N, C, H, W) lie on, black or white; black where that cannot be told."""
    white = (images >= spec.high - NEAR * (spec.high - spec.low)).flatten(1).float().mean(dim=1)
    return Ground.HIGHEST if float(white.median()) >= WHITE else Ground.LOWEST
