"""What is measured of single triggers: the weakest from class to class, and a second look at one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """The weakest trigger that sends one class's images to another class."""

    source: int
    target: int
    strength: float | None
    """In the detector's unit; None: right-censored, its trigger never succeeded."""
    success: float | None
    """Share of the source's held-out images that it sends to the target, in [0, 1]; None: too few of them."""
    lead: float
    """Mean lead of the source's logit over the target's on clean images of the source: how far apart they are."""


@dataclass(frozen=True, slots=True)
class Means:
    """What moves images to a class, of a detector that tries things out in place of searching."""

    words: str
    source: int | None
    """The class whose images it moves, where it is one alone; None: all others."""
    particular: bool = False
    """Whether it takes that pattern and that class: it is one that random patterns are compared with, and moves nearly
    all images of that class and few of those of neither that class nor the target."""


@dataclass(frozen=True, slots=True)
class Screening:
    """Which classes of many had no full search. A detector that looks from class to class leaves out sources."""

    left_out: tuple[int, ...]
    """Ascending."""
    drawn: tuple[int, ...]
    """Those searched in full that were drawn at random, ascending: what is usual among the ones left out is usual here.
    None of sources, which are all drawn at random."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A second look at one of the triggers that stand out most: inverted again from another seed, halves exchanged."""

    source: int | None
    """The class whose images it moves; None: all others."""
    target: int
    strength: float | None
    """Of the trigger found this time, in the detector's unit; None: none worked."""
    success: float | None
    """Share of the images that the first search used which it moves, in [0, 1]; None: there are none."""
    likeness: float | None
    """How far it does at every depth of the network what distinguishes real images of the target, in [-1, 1]: the
    lesser of both triggers' values. None: it cannot be told."""


@dataclass(frozen=True, slots=True)
class Control:
    """The weakest trigger of the same kind and way on the control, a network that has only seen the clean images."""

    source: int | None
    """The class whose images it moves; None: all others."""
    target: int
    strength: float | None
    """In the detector's unit; None: right-censored, its trigger never succeeded."""
