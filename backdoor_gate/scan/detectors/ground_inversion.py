"""Ground inversion: the faintest signals on images with nothing in them but what the network needs to see a class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.records import Evidence, Measured
from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.synthetic import planned_passes, synthetic
from backdoor_gate.scan.triggers.families.frequencies import Frequencies

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily

PER_CLASS = 10
"""Images per class and half: with ten classes as many as a trigger is settled on."""


class GroundInversion(InversionDetector):
    """Faintest additive signal of few frequencies per class, on images that the network makes itself.

    Real images hold a class fast, and a trigger has to overcome that. On an empty ground there is little to overcome:
    what answers to any signal at all does so here. Without clean images every search is on such images, and
    `frequency_inversion` is this one.
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
        before = context.subject.passes
        made = synthetic(context.subject, context.seed, PER_CLASS)
        # It knows no real images: not what its trigger does to them, nor where noise on them leads.
        evidence = super().measure(replace(context, probes=made, keep=lambda _: None, noise_classes=()))
        if not isinstance(evidence, Measured):
            return evidence
        cost = replace(evidence.cost, model_passes=context.subject.passes - before, images_used=0)
        return replace(evidence, cost=cost)
