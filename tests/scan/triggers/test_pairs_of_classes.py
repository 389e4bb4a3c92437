"""Arms from one class: which targets they may end at, which images they get, and where they end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy import Brightness

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.triggers import Arms, Images, InversionBudget, invert, pairs
from backdoor_gate.scan.triggers.arms import MOST_BLOCKS
from backdoor_gate.scan.triggers.images import draw, members
from backdoor_gate.scan.triggers.optimise import cross_entropy
from backdoor_gate.scan.triggers.replay import resolve


@pytest.mark.parametrize("classes", [3, 10, 11, 43, 200])
def test_every_other_class_is_in_one_block_of_its_source(classes: int) -> None:
    arms = pairs(torch.arange(classes), classes)
    assert len(arms) == classes * min(classes - 1, MOST_BLOCKS)
    among = torch.nn.functional.one_hot(arms.target, classes).bool() if arms.among is None else arms.among
    for source in range(classes):
        covered = among[arms.source[:, source]].sum(dim=0)
        assert covered.tolist() == [int(k != source) for k in range(classes)]


def test_the_cost_per_class_stops_growing() -> None:
    assert len(pairs(torch.arange(10), 10)) / 10 == len(pairs(torch.arange(200), 200)) / 200 == MOST_BLOCKS


def test_an_arm_gets_images_of_its_source_alone() -> None:
    labels = torch.tensor([0, 1, 2] * 4)
    arms = pairs(torch.tensor([2, 0]), 3)
    drawn = draw(arms, labels, 5, 7, torch.Generator().manual_seed(0))
    assert drawn.shape == (7, 4, 5)
    assert (labels[drawn] == torch.tensor([2, 2, 0, 0])[None, :, None]).all()
    assert torch.equal(drawn[:, 0], drawn[:, 1])  # the same for all arms of a class: they stay comparable
    indices, weights = members(arms, labels, 3)
    assert (labels[indices] == torch.tensor([2, 2, 0, 0])[:, None]).all()
    assert weights.tolist() == [[1.0] * 3] * 4


def test_a_class_with_fewer_images_pads_with_weight_nought() -> None:
    arms = pairs(torch.tensor([0, 1]), 2)
    _, weights = members(arms, torch.tensor([0, 0, 0, 1]), 9)
    assert weights.tolist() == [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]


def test_the_loss_of_a_block_is_of_its_classes_together() -> None:
    output = torch.tensor([[[1.0, 2.0, 3.0, 0.0]]])
    arms = Arms(
        torch.tensor([1]), torch.tensor([[True, False, False, False]]), torch.tensor([[False, True, True, False]])
    )
    expected = -output.softmax(dim=2)[0, 0, 1:3].sum().log()
    assert cross_entropy(output, arms).item() == pytest.approx(expected.item())
    single = arms.resolved(torch.tensor([2]))
    assert cross_entropy(output, single).item() == pytest.approx(-output.log_softmax(dim=2)[0, 0, 2].item())


def steps(images: Tensor) -> Tensor:
    """Logits of four classes: the brighter, the higher the class."""
    brightness = images.mean(dim=(1, 2, 3))
    return -((brightness[:, None] - torch.arange(4.0)) ** 2) * 8


def test_a_block_ends_at_the_target_that_needs_least() -> None:
    images = Images(torch.zeros(12, 1, 2, 2), torch.zeros(12, dtype=torch.int64))
    arms = Arms(
        torch.tensor([2]), torch.tensor([[True, False, False, False]]), torch.tensor([[False, False, True, True]])
    )
    family = Brightness(InputSpec((1, 2, 2)))
    found = invert(steps, family, arms, images, InversionBudget(120, 4), torch.Generator().manual_seed(0))
    assert found.arms.target.tolist() == [2]
    assert found.arms.among is None
    assert found.works.all()
    assert found.strength.item() == pytest.approx(1.5, rel=0.15)
    assert resolve(steps, family, (torch.tensor([3.0]),), arms, images).target.tolist() == [3]
