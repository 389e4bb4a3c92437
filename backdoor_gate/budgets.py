"""The budgets of the detectors: what a policy may set of each, with default, bounds and meaning."""

from __future__ import annotations

from dataclasses import dataclass

MOST_SEARCHED = 100
"""Classes that are searched in full, or from, at most."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a detector: a whole number between `low` and `high`, both included."""

    name: str
    default: int
    low: int
    high: int
    meaning: str


def _steps(default: int) -> Setting:
    return Setting("steps", default, 10, 5000, "Optimisation steps.")


def _images(default: int, meaning: str) -> Setting:
    return Setting("images", default, 2, 256, meaning)


def _most(name: str, meaning: str) -> Setting:
    return Setting(name, MOST_SEARCHED, 40, 100_000, meaning)


_SHARED = "Images per step, shared by all classes."
_OF_SOURCE = "Images of the source class per step."
_CLASSES = _most(
    "classes",
    "Classes searched in full at most; of more, those that a short search finds weakest, and some drawn at random.",
)
_SOURCES = _most("sources", "Source classes at most; of more, so many drawn at random.")

INVERSION = (_steps(80), _images(8, _SHARED), _CLASSES)
"""Of one trigger inversion, the same for every class."""

GENERATOR = (_steps(80), _images(12, _SHARED), _CLASSES)
"""Of the generator inversion: no more steps, since with time the weak triggers of all classes come closer."""

PAIRS = (_steps(60), _images(3, _OF_SOURCE), _SOURCES)
"""Of one source-by-target inversion, the same for every pair."""

PATCH_PAIRS = (_steps(70), _images(3, _OF_SOURCE), _SOURCES)
"""Of the source-by-target patch inversion: larger, since weak patches between close classes are common."""

MARGIN = (
    Setting("restarts", 6, 1, 64, "Random starts per class."),
    Setting("steps", 60, 5, 1000, "Sign-gradient steps per start."),
)
"""Of the maximum-margin search."""
