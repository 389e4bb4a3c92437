"""How fine the images are that the control sees: larger ones are averaged down before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec

LARGEST = 32
"""Side of the images, in pixels, that the control works on: larger ones are averaged down to about that."""


def grain(spec: InputSpec) -> int:
    """Return the pixels along a side of the squares that the control sees as one: what is finer it cannot tell."""
    return max(1, spec.side // LARGEST)
