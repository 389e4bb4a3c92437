"""Frequency inversion: sine stripes and single frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.frequencies import Frequencies

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily


class FrequencyInversion(InversionDetector):
    """Faintest additive signal of few frequencies per class."""

    name: ClassVar[str] = "frequency_inversion"
    family: ClassVar[type[TriggerFamily]] = Frequencies
