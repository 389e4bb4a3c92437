"""Tone probe: do colour filters, another brightness, a turn or a mirror send all images to one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from backdoor_gate.scan.detectors import probing
from backdoor_gate.scan.sweeps.tones import names, toned

if TYPE_CHECKING:
    from backdoor_gate.records import Evidence
    from backdoor_gate.scan.detectors.interface import Context


class ToneProbe:
    """Largest share of each class's rivals' images that one of the tones or turns moves there, beyond the control's.

    Source: the filters of ABS, Liu et al., CCS 2019, and of TrojAI, Karra et al., arXiv:2003.07233; "Just Rotate it",
    Wu et al., arXiv:2207.10825, whose trigger is a turn.
    """

    name: ClassVar[str] = "tone_probe"
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        return probing.planned_passes(context, _tones(context))

    def planned_leading(self, context: Context) -> int:
        """No gradient is taken."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Change the images' tones and turn them, and count where they go."""
        return probing.probe(context, self.name, _tones(context), beyond_control=True)


def _tones(context: Context) -> probing.Changes:
    return probing.Changes(names(context.subject.spec.shape[0]), lambda images, _: toned(images))
