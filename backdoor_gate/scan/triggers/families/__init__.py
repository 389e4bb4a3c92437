"""The trigger families: each a parametrised, differentiable transform of images with one strength per arm."""

from backdoor_gate.scan.triggers.families.frequencies import Frequencies
from backdoor_gate.scan.triggers.families.generated import Generated
from backdoor_gate.scan.triggers.families.interface import TriggerFamily
from backdoor_gate.scan.triggers.families.patch import Patch
from backdoor_gate.scan.triggers.families.spectral import Spectral
from backdoor_gate.scan.triggers.families.warp import Warp

FAMILIES: tuple[type[TriggerFamily], ...] = (Patch, Spectral, Frequencies, Warp, Generated)

__all__ = ["FAMILIES", "Frequencies", "Generated", "Patch", "Spectral", "TriggerFamily", "Warp"]
