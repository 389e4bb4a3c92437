"""Warp inversion: smooth geometric triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.detectors.inversion import InversionDetector
from backdoor_gate.scan.triggers.families.warp import Warp

if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily


class WarpInversion(InversionDetector):
    """Smallest smooth displacement per class."""

    name: ClassVar[str] = "warp_inversion"
    family: ClassVar[type[TriggerFamily]] = Warp
