"""Many classes: a short search over all of them tells which are worth the full one.

The full search is for the classes whose triggers come weakest in the short one, and for as many more, drawn at random
among the others, as it takes to say what is usual. The cost of a class then falls with their number. What is planted
may be left out: how often is measured by `benchmarks.screening`.

Source of the idea: K-Arm, Shen et al., ICML 2021, which gives its steps to the classes that look promising; here all of
those searched in full get the same, so that their strengths can be compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from backdoor_gate.scan.detectors.groups import approach_arms, planned_leading
from backdoor_gate.trigger_facts import Screening

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers import Arms, Images
    from backdoor_gate.scan.triggers.families.interface import TriggerFamily

SHORT = {"steps": 30, "images": 4}
"""Budget of the short search: a fifth of the full one."""

ONE_DRAWN_IN = 4
"""Of so many classes searched in full one is drawn at random."""


def searched(context: Context) -> int:
    """Return how many classes are searched in full."""
    return min(context.subject.num_classes, int(context.settings["classes"]))


def planned(context: Context) -> int:
    """Return the images that the short search puts through the network, all of them with a gradient."""
    classes = context.subject.num_classes
    return classes * planned_leading(_short(context)) if searched(context) < classes else 0


def screen(context: Context, family: TriggerFamily, arms: Arms, images: Images) -> Screening | None:
    """Search all classes a little, and say which to leave out; None where all of them are to be searched in full.

    Args:
        context: with the number of classes to search in full.
        family: the kind of trigger.
        arms: one per class, in order.
        images: those to optimise on.
    """
    most = searched(context)
    if most == len(arms):
        return None
    order = approach_arms(_short(context), family, arms, images).argsort(stable=True)
    drawn = most // ONE_DRAWN_IN
    others = order[most - drawn :]
    others = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(context.seed))]
    return Screening(left_out=_ascending(others[drawn:]), drawn=_ascending(others[:drawn]))


def left(screened: Screening, classes: int) -> Tensor:
    """Return the classes, of so many, that are searched in full, ascending."""
    chosen = torch.ones(classes, dtype=torch.bool)
    chosen[list(screened.left_out)] = False
    return chosen.nonzero()[:, 0]


def _short(context: Context) -> Context:
    return replace(context, settings=SHORT)


def _ascending(classes: Tensor) -> tuple[int, ...]:
    return tuple(sorted(classes.tolist()))
