"""Writes in place, where it is not certain whose values they change.

An operator such as `contiguous` or `reshape` returns its argument itself or a copy, as the memory happens to be laid
out: in production otherwise than here. What is written to the one then shows in the other there, and not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.pt2 import operators
from backdoor_gate.scan.loading.pt2.arguments import references
from backdoor_gate.scan.loading.pt2.members import refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from backdoor_gate.scan.loading.pt2.graph import Step


def check_writes(steps: Iterable[Step], weights: Collection[str], where: str) -> None:
    """Accept steps none of which uses what an earlier one may have changed under another name.

    Args:
        steps: in their order.
        weights: the values that come from the file, which nothing may change.
        where: the file, for messages.

    Raises:
        RefusedError: a weight may be written to.
        UnmeasuredError: a value is used after what may be the same memory was written to.
    """
    maybe, surely = _Groups(weights), _Groups(weights)
    stale: set[str] = set()
    for step in steps:
        used = {*references(step.arguments), *references(step.positional)}
        if used & stale:
            raise UnmeasuredError(
                f"{shown(step.label)}: whether {shown(min(used & stale))} was changed by a write in place depends on "
                "how its memory is laid out",
                where=where,
                hint="export the model again without operators that write in place, or upload safetensors",
            )
        same = maybe.join(step.outputs, step.shares)
        certain = surely.join(step.outputs, step.shares if step.writes or step.label in operators.VIEWS else ())
        if step.writes is None:
            continue
        if not same.isdisjoint(weights):
            raise refused("graph changes its own weights", where)
        stale |= same - certain


class _Groups:
    """Values that share memory, by any of them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._of = {name: {name} for name in names}

    def join(self, results: Iterable[str], shared: Iterable[str]) -> set[str]:
        """Note that results share memory with some values, and return all that now do."""
        group = set(results).union(*(self._of.get(name, {name}) for name in shared))
        self._of.update(dict.fromkeys(group, group))
        return group
