"""Generator inversion: triggers that differ from image to image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.generated import Generated

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily


class GeneratorInversion(InversionDetector):
    """Faintest signal per class that a small network generates from each image."""

    name: ClassVar[str] = "generator_inversion"
    family: ClassVar[type[TriggerFamily]] = Generated
    controlled: ClassVar[bool] = False
