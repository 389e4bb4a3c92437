"""The evidence of the sweeps, which try plain triggers out: what the best one for each class does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backdoor_gate.records import Cost, Measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.trigger_facts import Means


class Best(NamedTuple):
    """The best trigger for a class: its value in the detector's unit, the share of held-out images it moves, and it."""

    value: float
    success: float
    means: Means


def evidence(
    name: str, context: Context, found: Mapping[int, Best], otherwise: Best, artefacts: tuple[Artefact, ...]
) -> Measured:
    """Return what a sweep measured.

    Args:
        name: of the detector.
        context: of it.
        found: by class.
        otherwise: what stands for a class that was not looked at closely.
        artefacts: pictures.
    """
    classes = [found.get(k, otherwise) for k in range(context.subject.num_classes)]
    return Measured(
        detector=name,
        values=tuple(each.value for each in classes),
        success=tuple(each.success for each in classes),
        verified=context.probes.clean,
        artefacts=artefacts,
        cost=Cost(images_used=len(context.probes)),
        means=tuple(each.means for each in classes),
    )
