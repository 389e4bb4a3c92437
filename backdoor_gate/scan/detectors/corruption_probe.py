"""Corruption probe: do everyday corruptions send all images to one class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.data.grains import grain
from backdoor_gate.scan.detectors import probing
from backdoor_gate.scan.sweeps.corruptions import NAMES, corrupted

if TYPE_CHECKING:
    from backdoor_gate.records import Evidence, InputSpec
    from backdoor_gate.scan.detectors.interface import Context


class CorruptionProbe:
    """Largest share of each class's rivals' images that one of the corruptions moves there, beyond the control's.

    Source: BppAttack, Wang et al., CVPR 2022, whose trigger is fewer shades; and TeCo, Liu et al., CVPR 2023, who tell
    triggered images by how they stand corruption. Dithering and noise come close to other faint triggers, too.
    """

    name: ClassVar[str] = "corruption_probe"
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        return probing.planned_passes(context, corruptions(context.subject.spec))

    def planned_leading(self, context: Context) -> int:
        """No gradient is taken."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Corrupt the images, and count where they go."""
        return probing.probe(context, self.name, corruptions(context.subject.spec), beyond_control=False)


def corruptions(spec: InputSpec) -> probing.Changes:
    """Return the corruptions for such images.

    Of large ones noise and loss are as coarse as what the control sees: it could not tell how natural the effect of
    finer ones is.
    """
    return probing.Changes(NAMES, partial(corrupted, grain=grain(spec)))
