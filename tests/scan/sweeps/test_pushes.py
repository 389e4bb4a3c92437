"""How far a change pushes images to each class."""

from __future__ import annotations

import pytest
import torch

from backdoor_gate.scan.sweeps.pushes import LEAST_LEAD, pushed, sent, share_sent, usual_lead


def test_one_is_the_border_where_it_is_far() -> None:
    before, usual = torch.tensor([-4.0, -1.0]), 2.0
    assert pushed(before, torch.zeros(2), usual).tolist() == [1.0, 0.5]
    assert pushed(before, torch.tensor([4.0, 3.0]), usual).tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("rows", "expected"), [([[3.0, 0.0], [0.0, 1.0], [9.0, 0.0]], 3.0), ([[1.0, 1.0]], LEAST_LEAD)]
)
def test_the_usual_lead(rows: list[list[float]], expected: float) -> None:
    assert usual_lead(torch.tensor(rows)) == pytest.approx(expected)


def test_an_image_between_two_classes_goes_to_one_of_them() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert sent(logits, 1).tolist() == [False, True, False, True]
    assert [share_sent(logits, k) for k in range(3)] == [0.5, 0.5, 0.0]
