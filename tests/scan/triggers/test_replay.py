"""Replaying triggers, and settling them at the weakest multiple that works."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import Brightness, threshold, to_class_one

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.triggers.arms import Arms, all_to_one
from backdoor_gate.scan.triggers.images import Images
from backdoor_gate.scan.triggers.replay import (
    REQUIRED_SUCCESS,
    SETTLING_IMAGES,
    STRONGEST,
    WEAKEST,
    settle,
    success_rates,
)

FAMILY = Brightness(InputSpec((1, 2, 2)))


def flat(levels: torch.Tensor, labels: torch.Tensor | None = None) -> Images:
    """Return images of one brightness each."""
    images = levels.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Images(images, torch.zeros(len(levels), dtype=torch.int64) if labels is None else labels)


def needing(low: float, high: float, count: int = SETTLING_IMAGES) -> Images:
    """Return images that flip at amounts spread evenly, on a log scale, over [low, high]; their order is mixed."""
    amounts = torch.exp(torch.linspace(math.log(low), math.log(high), count))
    return flat(-amounts[torch.randperm(count, generator=torch.Generator().manual_seed(0))])


def test_success_counts_source_images_alone() -> None:
    images = flat(torch.tensor([-0.5, -1.5, -9.0, -0.5]), torch.tensor([0, 0, 0, 1]))
    assert success_rates(threshold, FAMILY, (torch.ones(1),), to_class_one(), images).item() == pytest.approx(1 / 3)


def test_success_of_many_images_is_that_of_all(device: torch.device) -> None:
    images = flat(torch.linspace(-2, 0, 101))
    arms = to_class_one(2).to(device)
    logits = lambda x: threshold(x.cpu()).to(device)  # noqa: E731
    rates = success_rates(logits, FAMILY, (torch.tensor([1.0, 0.5], device=device),), arms, images.to(device))
    assert rates.tolist() == pytest.approx([51 / 101, 26 / 101])


def test_without_source_images_there_is_no_success() -> None:
    images = flat(torch.zeros(4), torch.ones(4, dtype=torch.int64))
    rates = success_rates(threshold, FAMILY, (torch.ones(2),), all_to_one(2), images)
    assert rates[0].item() == 0
    assert math.isnan(rates[1].item())


def test_an_arm_without_source_images_never_works() -> None:
    images = flat(torch.zeros(4), torch.ones(4, dtype=torch.int64))
    settled, works = settle(threshold, FAMILY, (torch.ones(2),), all_to_one(2), images)
    assert works.tolist() == [False, False]
    assert settled[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (0.7, 1.2), (1.0, 1.3), (0.3, 1.0)])
def test_it_settles_where_the_success_is_just_reached(low: float, high: float) -> None:
    settled, works = settle(threshold, FAMILY, (torch.ones(1),), to_class_one(), needing(low, high))
    assert works.all()
    truth = low * (high / low) ** REQUIRED_SUCCESS
    assert settled[0].item() == pytest.approx(truth, rel=0.06)


@given(start=st.floats(0.55, 1.45))
def test_where_the_optimiser_stopped_hardly_matters(start: float) -> None:
    settled, works = settle(threshold, FAMILY, (torch.tensor([start]),), to_class_one(), needing(0.25, 1.0))
    assert works.all()
    assert settled[0].item() == pytest.approx(0.25 * 4**REQUIRED_SUCCESS, rel=0.08)


def test_what_never_works_comes_back_as_it_was() -> None:
    beyond = STRONGEST * 1.2
    settled, works = settle(threshold, FAMILY, (torch.ones(1),), to_class_one(), needing(beyond, beyond * 2))
    assert not works.any()
    assert settled[0].item() == 1


def test_what_always_works_is_scaled_down_no_further_than_the_least_factor() -> None:
    settled, works = settle(threshold, FAMILY, (torch.ones(1),), to_class_one(), needing(0.01, 0.02))
    assert works.all()
    assert settled[0].item() == pytest.approx(WEAKEST, rel=0.06)


def test_arms_settle_apart() -> None:
    images, starts = needing(0.5, 2.0), torch.tensor([1.0, 1.5, 0.5])
    settled, works = settle(threshold, FAMILY, (starts,), to_class_one(3), images)
    assert works.tolist() == [True, True, False]  # 2.44 times a half is less than what 95 % need
    for arm in range(2):
        alone, _ = settle(threshold, FAMILY, (starts[arm : arm + 1],), to_class_one(), images)
        assert settled[0][arm].item() == pytest.approx(alone[0].item())


def test_the_settled_trigger_works_on_what_it_was_settled_on() -> None:
    images = needing(0.5, 2.0)
    settled, _ = settle(threshold, FAMILY, (torch.ones(1),), to_class_one(), images)
    rate = success_rates(threshold, FAMILY, settled, to_class_one(), images)
    assert rate.item() == pytest.approx(REQUIRED_SUCCESS, abs=0.02)


def test_the_arms_target_counts_not_its_place() -> None:
    arms = Arms(torch.tensor([1, 0]), torch.tensor([[True, False], [False, True]]))
    images = flat(torch.tensor([-0.5, -0.5, 0.5]), torch.tensor([0, 0, 1]))
    assert success_rates(threshold, FAMILY, (torch.tensor([1.0, -1.0]),), arms, images).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("share", "expected"), [(0.93, True), (0.82, False)])
def test_a_trigger_that_a_few_images_resist_works_at_its_best_success(share: float, expected: bool) -> None:
    count = round(share * SETTLING_IMAGES)
    resisting = flat(torch.full((SETTLING_IMAGES - count,), -1e9))
    moved = needing(0.8, 1.2, count)
    images = Images(torch.cat([moved.images, resisting.images]), torch.cat([moved.labels, resisting.labels]))
    settled, works = settle(threshold, FAMILY, (torch.ones(1),), to_class_one(), images)
    assert works.item() is expected
    assert settled[0].item() == (pytest.approx(1.2, rel=0.06) if expected else 1.0)
