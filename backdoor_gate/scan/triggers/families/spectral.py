"""Additive signals of low spatial frequency."""

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
def cosine_basis(size: int, frequencies: int, device: torch.device) -> Tensor:
    """Return the first cosines of the orthonormal DCT-II: (frequencies, size) float32."""
    basis = cosines(size, frequencies) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float().to(device)


class Spectral(Additive):
    """x' = clip(x + ε·s/max|s|), s an 8×8 cosine series per channel; strength ε / input range, the signal's L∞ norm.

    Amplitude ε and shape s are separate parameters: the penalty acts on one number and leaves the shape alone.
    """

    learning_rate: ClassVar[float] = 0.1
    schedule: ClassVar[ScheduleSettings] = ScheduleSettings(initial=5.0, bar=0.9)
    follows_image: ClassVar[bool] = False

    FREQUENCIES: ClassVar[int] = 8
    START: ClassVar[float] = 0.1
    """First amplitude, as a share of the input range."""

    SPREAD: ClassVar[float] = 0.25
    """Standard deviation of the first coefficients. Only their ratios count: the smaller they start, the faster a step
    of given length turns the shape."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        channels, height, width = spec.shape
        self._series = channels, min(self.FREQUENCIES, height), min(self.FREQUENCIES, width)

    def start(self, arms: int, generator: Generator) -> Parameters:
        """Start every arm from the same faint random signal."""
        coefficients = self.SPREAD * torch.randn((1, *self._series), generator=generator)
        return torch.full((arms,), math.log(self.START)), coefficients.repeat(arms, 1, 1, 1)

    def signal(self, parameters: Parameters) -> Tensor:
        """Return the additive signal, (A,C,H,W), in input units."""
        _, coefficients = parameters
        sizes = zip(self._spec.shape[1:], self._series[1:], strict=True)
        rows, columns = (cosine_basis(*each, coefficients.device) for each in sizes)
        shape = rows.T @ coefficients @ columns  # (A, C, H, W)
        peak = shape.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        scale = self.strength(parameters) * (self._spec.high - self._spec.low)
        return shape / peak * scale[:, None, None, None]
