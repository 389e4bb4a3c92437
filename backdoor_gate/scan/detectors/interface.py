"""What a detector is: a measurement that is given everything but a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from backdoor_gate.records import Evidence
    from backdoor_gate.scan.data.probes import Probes
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily


@dataclass(frozen=True, eq=False, slots=True)
class Weakest:
    """The weakest trigger that a detector found, for a picture of what it does within the network.

    Attributes:
        family: its kind.
        parameters: of the one trigger.
        moves: (K,) bool, the classes whose images it moves.
        target: where to.
        source: the class that it moves, where it is made for one alone.
        share: its strength as a share of the median strength of the detector's triggers.
        success: share of held-out images that it moves, in [0, 1]; NaN without any.
    """

    family: TriggerFamily
    parameters: Parameters
    moves: Tensor
    target: int
    source: int | None
    share: float
    success: float


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
        keep: takes the weakest trigger that was found.
        noise_classes: those that plain noise leads to, see `scan.noise`.
        control: waits for the network trained on the clean images alone, see `scan.control`, and returns it, or None
            where they do not make one; None: there is none to wait for.
    """

    subject: Subject
    probes: Probes
    settings: dict[str, Any]
    seed: int
    activation_bytes: int
    report: Callable[[int, int, int, int], None] = field(default=lambda *_: None)
    keep: Callable[[Weakest], None] = field(default=lambda _: None)
    noise_classes: tuple[int, ...] = ()
    control: Callable[[], Subject | None] | None = None


class Detector(Protocol):
    """One way of looking for a backdoor. Leaves the network and the global random state alone."""

    name: ClassVar[str]
    controlled: ClassVar[bool]
    """Whether it looks at the control, too."""

    def planned_passes(self, context: Context) -> int:
        """Estimate the images that `measure` will put through the network; no evidence hangs on it."""
        ...

    def planned_leading(self, context: Context) -> int:
        """Return those of the planned passes that take a gradient to the images, which costs more."""
        ...

    def measure(self, context: Context) -> Evidence:
        """Measure every class. Of the cost it says only what clean images it used: the session counts the rest.

        Raises:
            OutOfTimeError: the subject's deadline has passed.
        """
        ...
