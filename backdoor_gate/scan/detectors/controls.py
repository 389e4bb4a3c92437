"""The same search on the control: what each trigger would have to be if nothing were planted, see `scan.control`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from backdoor_gate.scan.detectors.groups import invert_arms
from backdoor_gate.trigger_facts import Control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.scan.detectors.groups import Inverted
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers import Images
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily


def strengths_of_control(  # noqa: PLR0913 (the triggers, and the images)
    context: Context,
    family: TriggerFamily,
    inverted: Inverted,
    chosen: Sequence[int],
    optimise: Images,
    *,
    from_source: bool,
) -> tuple[Control, ...]:
    """Invert some of the arms on the control, with the same budget and seed; nothing where there is no control.

    Args:
        context: of the candidate's search.
        family: the kind of trigger.
        inverted: the candidate's arms.
        chosen: their positions.
        optimise: the images that the triggers were optimised on.
        from_source: whether each arm moves one class.
    """
    control = context.control() if context.control is not None and chosen else None
    if control is None:
        return ()
    arms = inverted.arms[torch.tensor(sorted(chosen), dtype=torch.int64)].to(optimise.labels.device)
    silent = replace(context, subject=control, report=lambda *_: None)
    try:
        found = invert_arms(silent, family, arms, optimise)
    except FloatingPointError:
        return ()
    if not found.finite():
        return ()
    sources = arms.source.int().argmax(dim=1).tolist() if from_source else [None] * len(arms)
    return tuple(map(Control, sources, arms.target.tolist(), found.strengths()))
