"""Classes drawn at random where there are too many."""

from __future__ import annotations

import torch

from backdoor_gate.scan.data.classes import at_most


def test_few_classes_are_all_taken() -> None:
    classes = torch.tensor([2, 3, 7])
    assert torch.equal(at_most(3, classes, 0), classes)


def test_of_many_as_many_as_asked_for_are_drawn_by_the_seed() -> None:
    classes = torch.arange(100) * 3
    drawn, again, other = at_most(40, classes, 5), at_most(40, classes, 5), at_most(40, classes, 6)
    assert len(drawn.unique()) == 40
    assert torch.equal(drawn, drawn.sort().values)
    assert set(drawn.tolist()) < set(classes.tolist())
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
