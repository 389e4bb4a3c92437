"""The budgets of the detectors: one class of settings for each kind, with defaults and bounds.

`settings.py` reads them off for policies and documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

MOST_SEARCHED = 100
"""Classes that are searched in full, or from, at most."""


@dataclass(frozen=True, slots=True)
class NoSettings:
    """A detector without settings of its own."""


@dataclass(frozen=True, slots=True)
class InversionSettings:
    """Budget of one trigger inversion, the same for every class."""

    steps: Annotated[int, Ge(10), Le(5000)] = 80
    """Optimisation steps."""
    images: Annotated[int, Ge(2), Le(256)] = 8
    """Images per step, shared by all classes."""
    classes: Annotated[int, Ge(40), Le(100_000)] = MOST_SEARCHED
    """Classes searched in full at most; of more, those that a short search finds weakest, and some drawn at random."""


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """Budget of the generator inversion: shorter, since with time the weak triggers of all classes come closer."""

    steps: Annotated[int, Ge(10), Le(5000)] = 80
    """Optimisation steps."""
    images: Annotated[int, Ge(2), Le(256)] = 12
    """Images per step, shared by all classes."""
    classes: Annotated[int, Ge(40), Le(100_000)] = MOST_SEARCHED
    """Classes searched in full at most, as in the other inversions."""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Budget of one source-by-target inversion, the same for every pair."""

    steps: Annotated[int, Ge(10), Le(5000)] = 60
    """Optimisation steps."""
    images: Annotated[int, Ge(2), Le(256)] = 3
    """Images of the source class per step."""
    sources: Annotated[int, Ge(40), Le(100_000)] = MOST_SEARCHED
    """Source classes at most; of more, so many drawn at random."""


@dataclass(frozen=True, slots=True)
class PatchPairSettings:
    """Budget of the source-by-target patch inversion: larger, since weak patches between close classes are common."""

    steps: Annotated[int, Ge(10), Le(5000)] = 70
    """Optimisation steps."""
    images: Annotated[int, Ge(2), Le(256)] = 3
    """Images of the source class per step."""
    sources: Annotated[int, Ge(40), Le(100_000)] = MOST_SEARCHED
    """Source classes at most; of more, so many drawn at random."""


@dataclass(frozen=True, slots=True)
class MarginSettings:
    """Budget of the maximum-margin search."""

    restarts: Annotated[int, Ge(1), Le(64)] = 6
    """Random starts per class."""
    steps: Annotated[int, Ge(5), Le(1000)] = 60
    """Sign-gradient steps per start."""


Settings = NoSettings | InversionSettings | GeneratorSettings | PairSettings | PatchPairSettings | MarginSettings
