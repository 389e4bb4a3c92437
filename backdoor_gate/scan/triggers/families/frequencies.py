"""Additive signals of few frequencies, high or low."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor

from backdoor_gate.scan.triggers.families.additive import Additive, cosines
from backdoor_gate.scan.triggers.schedule import ScheduleSettings

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.triggers.families.interface import Parameters


@cache
def all_cosines(size: int, device: torch.device) -> Tensor:
    """Return all cosines of the DCT-II, each with amplitude 1: (size, size) float32, frequency by position."""
    return cosines(size, size).float().to(device)


class Frequencies(Additive):
    """x' = clip(x + ε·s/Σ|c|), s a whole cosine series with coefficients c; strength ε / input range.

    The strength is the sum of the amplitudes over all frequencies, of each the largest channel's: a bound on the L∞
    norm. Where `Spectral` takes any signal from few low frequencies, this takes few frequencies from all: as a patch's
    L1 norm seeks few pixels, the sum of amplitudes seeks few frequencies.

    Source of the attacks: SIG, Barni et al., ICIP 2019 (sine stripes), and FTrojan, Wang et al., ECCV 2022 (single
    coefficients of the cosine transform).
    """

    learning_rate: ClassVar[float] = 0.1
    schedule: ClassVar[ScheduleSettings] = ScheduleSettings(initial=5.0, bar=0.9)
    follows_image: ClassVar[bool] = False

    START: ClassVar[float] = 1.0
    """First sum of amplitudes, as a share of the input range: spread over all frequencies it is faint."""

    SPREAD: ClassVar[float] = 0.02
    """Standard deviation of the first coefficients, of which only the ratios count, see `Spectral.SPREAD`."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Start every arm from the same random signal of all frequencies."""
        coefficients = self.SPREAD * torch.randn((1, *self._spec.shape), generator=generator)
        return torch.full((arms,), math.log(self.START)), coefficients.repeat(arms, 1, 1, 1)

    def signal(self, parameters: Parameters) -> Tensor:
        """Return the additive signal, (A,C,H,W), in input units."""
        _, coefficients = parameters
        rows, columns = (all_cosines(size, coefficients.device) for size in self._spec.shape[1:])
        amplitudes = coefficients.abs().amax(dim=1).sum(dim=(1, 2)).clamp_min(1e-12)  # (A,)
        # The amplitude comes last: the basis would add up infinities of both signs where it overflows.
        shape = rows.T @ (coefficients / amplitudes[:, None, None, None]) @ columns
        return shape * (self.strength(parameters) * (self._spec.high - self._spec.low))[:, None, None, None]
