"""By how much classes lead: three questions with one answer."""

from __future__ import annotations

import torch

from backdoor_gate.scan.leads import leads, margins, named_leads


def test_leads_are_over_the_strongest_other_class() -> None:
    found = leads(torch.tensor([[5.0, 2.0, 1.0], [0.0, 0.0, -3.0]]))
    assert found.tolist() == [[3.0, -3.0, -4.0], [0.0, 0.0, -3.0]]


def test_the_three_agree() -> None:
    logits = torch.randn((64, 7), generator=torch.Generator().manual_seed(0))
    targets = torch.arange(64) % 7
    assert margins(logits, targets).equal(leads(logits).gather(1, targets[:, None])[:, 0])
    assert named_leads(logits).equal(leads(logits).amax(dim=1))


def test_a_climb_moves_all_rivals_that_are_equally_strong() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0]], requires_grad=True)
    margins(logits, torch.tensor([0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -0.5, -0.5]]
