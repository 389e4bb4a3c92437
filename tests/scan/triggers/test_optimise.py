"""The engine: many arms at once give what each gives alone, and what they give is near the truth where it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import Tensor, nn
from toy import to_class_one

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.triggers import Images, Inversion, InversionBudget, all_to_one, invert
from backdoor_gate.scan.triggers.families import FAMILIES, Patch, Spectral, TriggerFamily
from backdoor_gate.scan.triggers.optimise import step_loss

SPEC = InputSpec((1, 16, 16))
SHORT = InversionBudget(steps=25, images=10)


if TYPE_CHECKING:
    from backdoor_gate.scan.triggers.arms import Arms


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest) -> TriggerFamily:
    """Each family in turn, for the digits."""
    found: TriggerFamily = request.param(SPEC)
    return found


@pytest.fixture
def model(device: torch.device) -> nn.Module:
    """The clean digits network."""
    return digits.trained().to(device)


@pytest.fixture
def images(device: torch.device) -> Images:
    """Some clean digits."""
    return digits.clean_images()[:150].to(device)


def run(model: nn.Module, family: TriggerFamily, arms: Arms, images: Images, seed: int = 0) -> Inversion:
    arms = arms.to(images.labels.device)
    return invert(model, family, arms, images, SHORT, torch.Generator().manual_seed(seed))


def test_one_step_of_all_arms_equals_one_step_of_each(model: nn.Module, family: TriggerFamily, images: Images) -> None:
    arms, device = all_to_one(10).to(images.labels.device), images.labels.device
    start = family.start(10, torch.Generator().manual_seed(0))
    cost = torch.linspace(0.5, 2, 10, device=device)
    batch = images[:16]

    def step(chosen: slice) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        parameters = tuple(p[chosen].clone().to(device).requires_grad_() for p in start)
        loss, success, strength = step_loss(model, family, parameters, arms[chosen], batch, cost[chosen])
        return torch.autograd.grad(loss, parameters), success, strength

    together = step(slice(0, 10))
    for k in range(10):
        alone = step(slice(k, k + 1))
        assert torch.equal(alone[1][0], together[1][k])
        assert torch.allclose(alone[2][0], together[2][k], rtol=1e-5)
        for one, all_ in zip(alone[0], together[0], strict=True):
            scale = float(all_[k].abs().max())
            assert torch.allclose(one[0], all_[k], rtol=1e-5, atol=1e-5 * scale)


def test_a_run_of_all_arms_equals_runs_of_each(model: nn.Module, family: TriggerFamily, images: Images) -> None:
    together = run(model, family, all_to_one(10), images)
    for k in (3, 7):
        alone = run(model, family, all_to_one(10)[k : k + 1], images)
        assert alone.works[0] == together.works[k]
        assert alone.strength[0].item() == pytest.approx(together.strength[k].item(), rel=0.02)


def test_the_size_of_the_groups_does_not_matter(model: nn.Module, family: TriggerFamily, images: Images) -> None:
    arms = all_to_one(10)
    whole = run(model, family, arms, images)
    groups = [run(model, family, arms[at : at + 4], images) for at in range(0, 10, 4)]
    assert torch.equal(torch.cat([group.works for group in groups]), whole.works)
    assert torch.allclose(torch.cat([group.strength for group in groups]), whole.strength, rtol=0.02)


def test_same_seed_same_result(model: nn.Module, family: TriggerFamily, images: Images) -> None:
    one, other, third = (run(model, family, all_to_one(10)[:4], images, seed) for seed in (1, 1, 2))
    assert torch.equal(one.strength, other.strength)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters, other.parameters, strict=True))
    assert not torch.equal(one.strength, third.strength)


def test_the_result_is_detached_and_in_one_place(model: nn.Module, family: TriggerFamily, images: Images) -> None:
    found = run(model, family, all_to_one(10)[:2], images)
    for tensor in (found.strength, found.works, *found.parameters):
        assert tensor.shape[0] == 2
        assert not tensor.requires_grad
        assert tensor.device.type == images.labels.device.type
    assert found.works.dtype == torch.bool


def test_every_step_is_announced(model: nn.Module, images: Images) -> None:
    seen: list[int] = []
    generator, arms = torch.Generator().manual_seed(0), all_to_one(10)[:1].to(images.labels.device)
    invert(model, Patch(SPEC), arms, images, InversionBudget(7, 4), generator, seen.append)
    assert seen == [1, 2, 3, 4, 5, 6, 7]


# ---------------------------------------------------------------------------------------------- where truth is known


def two_classes(seed: int = 0) -> Images:
    """Return flat images of class 0 between a quarter and a half bright."""
    levels = 0.25 + 0.25 * torch.rand(64, generator=torch.Generator().manual_seed(seed))
    return Images(levels.view(-1, 1, 1, 1).expand(-1, *SPEC.shape).contiguous(), torch.zeros(64, dtype=torch.int64))


def brighter_than(bound: float, where: tuple[slice, slice]) -> nn.Module:
    """Return a network that says class 1 where a region is brighter than the bound."""

    class Bright(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            excess = 20 * (images[:, 0, where[0], where[1]].mean(dim=(1, 2)) - bound)
            return torch.stack([-excess, excess], dim=1)

    return Bright()


def test_the_faintest_signal_is_found() -> None:
    """A flat signal of 0.44 makes 95 % of the images brighter than 0.7, and no less will do.

    The engine comes within half as much again: only the peak of a signal feels the cost, so it flattens slowly.
    """
    everywhere = slice(None)
    model, images = brighter_than(0.7, (everywhere, everywhere)), two_classes()
    budget = InversionBudget(steps=200, images=16)
    found = invert(model, Spectral(SPEC), to_class_one(), images, budget, torch.Generator().manual_seed(0))
    assert found.works.all()
    needed = 0.7 - images.images[:, 0, 0, 0].quantile(0.05).item()
    assert needed * 0.98 <= found.strength.item() <= needed * 1.5


def test_the_smallest_patch_is_found() -> None:
    """A white patch of 3×3 pixels with the opacity (0.7 - x)/(1 - x) is enough, and nothing else counts."""
    corner = slice(12, 15)
    model, images = brighter_than(0.7, (corner, corner)), two_classes()
    budget = InversionBudget(steps=200, images=16)
    found = invert(model, Patch(SPEC), to_class_one(), images, budget, torch.Generator().manual_seed(0))
    assert found.works.all()
    dark = images.images[:, 0, 0, 0].quantile(0.05).item()
    needed = (0.7 - dark) / (1 - dark) * 9 / 256
    assert needed * 0.95 <= found.strength.item() <= needed * 1.5
    mask = torch.sigmoid(found.parameters[0])[0, 0]
    assert mask[corner, corner].sum() > 0.8 * mask.sum()


def test_what_no_trigger_reaches_does_not_work() -> None:
    everywhere = slice(None)
    found = invert(
        brighter_than(1.1, (everywhere, everywhere)), Spectral(SPEC), to_class_one(), two_classes(),
        InversionBudget(steps=30, images=8), torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert not found.works.any()
    assert found.strength.isfinite().all()


def test_a_trigger_that_goes_to_nan_is_an_error_and_no_censored_class(family: TriggerFamily) -> None:
    def nan(images: Tensor) -> Tensor:
        return torch.stack([images.mean(dim=(1, 2, 3)), images.sum(dim=(1, 2, 3)) * torch.nan], dim=1)

    with pytest.raises(FloatingPointError, match="did not stay finite"):
        invert(nan, family, to_class_one(), two_classes(), SHORT, torch.Generator().manual_seed(0))
