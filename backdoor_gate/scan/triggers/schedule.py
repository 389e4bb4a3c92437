"""How much a strong trigger counts against a successful one: a cost per arm, raised while the trigger works."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """Constants of the cost schedule.

    Neural Cleanse (IEEE S&P 2019, appendix; its public code) starts without a cost, sets it after 5 epochs of success,
    doubles it after 5 more and divides it by 2^1.5 after 5 epochs of failure. A gate has two orders of magnitude fewer
    steps, so the patience is shorter.
    """

    initial: float
    """Cost once the trigger has worked, in units of loss per unit of penalty; none before."""
    raised_by: float = 1.5
    lowered_by: float = 1.5**1.5
    patience: int = 2
    """Consecutive steps above (below) the bar before the cost is raised (lowered)."""
    bar: float = 0.95
    """Success rate on the step's images that counts as working."""
    smoothing: float = 0.5
    """Weight of the newest step in the running success rate."""


class CostSchedule:
    """The cost of each arm, as vectors: every arm follows its own success, none waits for another."""

    def __init__(self, arms: int, settings: ScheduleSettings, device: torch.device) -> None:
        self._settings = settings
        self.cost = torch.zeros(arms, device=device)
        """(A,) float32, loss per unit of penalty."""
        self.success = torch.zeros(arms, device=device)
        """(A,) float32, running success rate in [0, 1]."""
        self._above = torch.zeros(arms, device=device)
        self._below = torch.zeros(arms, device=device)

    def update(self, success: Tensor) -> None:
        """Follow one step's success rates, (A,) in [0, 1]."""
        s = self._settings
        self.success = torch.lerp(self.success, success, s.smoothing)
        works = self.success >= s.bar
        self.cost = torch.where(works & (self.cost == 0), s.initial, self.cost)
        self._above = torch.where(works, self._above + 1, 0)
        self._below = torch.where(works, 0, self._below + 1)
        raised, lowered = self._above >= s.patience, self._below >= s.patience
        self.cost = torch.where(raised, self.cost * s.raised_by, self.cost)
        self.cost = torch.where(lowered, self.cost / s.lowered_by, self.cost)
        self._above = torch.where(raised, 0, self._above)
        self._below = torch.where(lowered, 0, self._below)
