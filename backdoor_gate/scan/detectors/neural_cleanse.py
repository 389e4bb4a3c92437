"""Patch inversion: Neural Cleanse for all classes in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.patch import Patch

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily


class NeuralCleanse(InversionDetector):
    """Smallest mask and pattern per class. Source: Wang et al., IEEE S&P 2019."""

    name: ClassVar[str] = "neural_cleanse"
    family: ClassVar[type[TriggerFamily]] = Patch
