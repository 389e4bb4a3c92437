"""Images made where the pipeline has none: of every class, on the right ground, moved just as far as need be."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import Generator, nn

from backdoor_gate.budgets import MOST_SEARCHED
from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.data.synthetic import (
    LIMIT,
    PER_CLASS,
    Ground,
    _classes,
    choose_ground,
    grounds,
    synthetic,
    usual_way,
)
from backdoor_gate.scan.network.passes import predict
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

CPU = torch.device("cpu")


class Negative(nn.Module):
    """A network of black digits on white."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return what the network makes of the negative."""
        logits: Tensor = self.network(1 - images)
        return logits


@cache
def subject(*, negative: bool = False) -> Subject:
    network = digits.trained()
    loaded = digits.loaded(Negative(network) if negative else network)
    return Subject(loaded, InputSpec((1, 16, 16)), digits.CLASSES, CPU)


def test_they_cover_every_class() -> None:
    made = synthetic(subject(), 0)
    assert not made.clean
    for half in (made.optimise, made.held_out):
        assert half.images.shape == (10 * PER_CLASS, 1, 16, 16)
        assert 0 <= half.images.min() <= half.images.max() <= 1
        assert min(Counter(half.labels.tolist()).get(k, 0) for k in range(10)) >= PER_CLASS // 2


def test_they_are_labelled_by_the_network() -> None:
    made = synthetic(subject(), 0)
    assert torch.equal(made.optimise.labels, predict(subject(), made.optimise.images))


def test_they_follow_the_seed_and_halves_differ() -> None:
    one, other, third = (synthetic(subject(), seed) for seed in (3, 3, 4))
    assert torch.equal(one.optimise.images, other.optimise.images)
    assert torch.equal(one.held_out.images, other.held_out.images)
    assert not torch.equal(one.optimise.images, one.held_out.images)
    assert not torch.equal(one.optimise.images, third.optimise.images)
    assert not torch.equal(one.held_out.images, third.optimise.images)


def test_they_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    synthetic(subject(), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_many_classes_get_fewer_images_each() -> None:
    model = digits.network(classes=100).eval().requires_grad_(False)
    made = synthetic(Subject(digits.loaded(model), InputSpec((1, 16, 16)), 100, CPU), 0)
    assert len(made.optimise) == LIMIT


def test_of_very_many_classes_so_many_have_any_as_a_search_starts_from() -> None:
    made = Subject(
        digits.loaded(digits.network(classes=300).eval().requires_grad_(False)), InputSpec((1, 16, 16)), 300, CPU
    )
    targets = _classes(made, 3)
    assert len(targets.unique()) == MOST_SEARCHED
    assert not torch.equal(targets, _classes(made, 4))
    assert len(synthetic(made, 3).optimise) == LIMIT


def test_a_gradient_that_is_not_finite_makes_none() -> None:
    class Poisoned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.awake = digits.trained(), False

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(images)
            return logits + torch.sqrt(0 * logits) if self.awake else logits  # 0, with gradient NaN

    model = Poisoned()
    made = Subject(digits.loaded(model), InputSpec((1, 16, 16)), digits.CLASSES, CPU)
    model.awake = True
    with pytest.raises(UnmeasuredError, match="did not stay finite"):
        synthetic(made, 0)


def test_the_network_is_sure_of_them_and_no_surer() -> None:
    images = synthetic(subject(), 0).optimise.images
    with torch.no_grad():
        sure = subject().logits(images).softmax(dim=1).amax(dim=1)
    assert float(sure.median()) > 0.85
    assert float(sure.median()) < 0.99


def test_the_ground_is_what_the_network_knows() -> None:
    assert choose_ground(subject(), 0) is Ground.LOWEST
    assert usual_way(subject(), Ground.LOWEST, 0) < usual_way(subject(), Ground.HIGHEST, 0)
    assert usual_way(subject(negative=True), Ground.HIGHEST, 0) < usual_way(subject(negative=True), Ground.LOWEST, 0)


@pytest.mark.parametrize("ground", Ground)
def test_grounds_keep_to_the_range(ground: Ground) -> None:
    images = grounds(ground, InputSpec((3, 9, 14), low=-2.0, high=3.0), 5, Generator().manual_seed(0))
    assert images.shape == (5, 3, 9, 14)
    assert float(images.min()) >= -2
    assert float(images.max()) <= 3
    assert not torch.equal(images[0], images[1])


def test_scenery_is_smooth_and_its_colours_go_together() -> None:
    images = grounds(Ground.SCENERY, InputSpec((3, 32, 32)), 40, Generator().manual_seed(0))
    deviation = images.flatten(1).std()
    assert float((images[..., 1:] - images[..., :-1]).std()) < 0.5 * float(deviation)
    red, green = (images[:, channel].flatten() for channel in (0, 1))
    assert float(torch.corrcoef(torch.stack([red, green]))[0, 1]) > 0.5


def test_an_image_of_one_pixel_is_no_fault() -> None:
    images = grounds(Ground.SCENERY, InputSpec((1, 1, 1)), 3, Generator().manual_seed(0))
    assert images.isfinite().all()
