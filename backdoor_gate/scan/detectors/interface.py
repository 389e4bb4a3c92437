"""What a detector is: a measurement that is given everything but a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.records import Evidence
    from backdoor_gate.scan.probes import Probes
    from backdoor_gate.scan.subject import Subject


@dataclass(slots=True)
class Context:
    """What a detector works with.

    Attributes:
        subject: the frozen network.
        probes: images to optimise on and images held out.
        settings: of this detector, complete and validated.
        seed: of every random draw; the same seed gives the same evidence.
        report: takes (steps done, steps in all, first class, last class).
        activation_bytes: memory that the activations of one batch may take.
    """

    subject: Subject
    probes: Probes
    settings: dict[str, Any]
    seed: int
    activation_bytes: int
    report: Callable[[int, int, int, int], None] = field(default=lambda *_: None)


class Detector(Protocol):
    """One way of looking for a backdoor. Leaves the network and the global random state alone."""

    name: ClassVar[str]

    def planned_passes(self, context: Context) -> int:
        """Estimate the images that `measure` will put through the network; only the progress display uses it."""
        ...

    def measure(self, context: Context) -> Evidence:
        """Measure every class.

        Raises:
            OutOfTimeError: the subject's deadline has passed.
        """
        ...
