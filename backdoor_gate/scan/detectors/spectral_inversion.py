"""Spectral inversion: blended and frequency-domain triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.spectral import Spectral

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily


class SpectralInversion(InversionDetector):
    """Faintest additive low-frequency signal per class."""

    name: ClassVar[str] = "spectral_inversion"
    family: ClassVar[type[TriggerFamily]] = Spectral
