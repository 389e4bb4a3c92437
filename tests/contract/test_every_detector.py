"""The battery: what holds for every detector of the pack, the one that is added tomorrow included."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support import digits
from torch import nn

from backdoor_gate import catalogue
from backdoor_gate.catalogue import BY_NAME, Side
from backdoor_gate.records import Evidence, Inconclusive, Measured, NotApplicable
from backdoor_gate.scan.data.probes import Probes
from backdoor_gate.scan.detectors import DETECTORS
from backdoor_gate.scan.detectors.screening import ONE_DRAWN_IN
from backdoor_gate.scan.network.subject import OutOfTimeError
from backdoor_gate.scan.session import run_one
from backdoor_gate.scan.triggers.images import Images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backdoor_gate.scan.detectors import Detector
    from backdoor_gate.scan.detectors.interface import Context

    MakeContext = Callable[..., Context]

PICTURES = {"trigger", "mask", "pattern", "clean", "triggered"}
ROUNDING = 1e-6
SLACK = 0.02
"""Whole runs that do the same sums in another order agree within this."""


def measured(evidence: Evidence) -> Measured:
    assert isinstance(evidence, Measured), evidence
    return evidence


def same(one: Measured, other: Measured) -> bool:
    pictures = [[(a.name, a.class_index, a.array.tobytes()) for a in e.artefacts] for e in (one, other)]
    bare = [dataclasses.replace(e, artefacts=(), cost=dataclasses.replace(e.cost, seconds=0.0)) for e in (one, other)]
    return bare[0] == bare[1] and pictures[0] == pictures[1]


def assert_alike(values: Sequence[float | None], expected: Sequence[float | None]) -> None:
    """Assert that the same classes are censored and the others agree within SLACK."""
    pairs = list(zip(values, expected, strict=True))
    assert all((one is None) == (other is None) for one, other in pairs), pairs
    assert [v for v in values if v is not None] == pytest.approx([v for v in expected if v is not None], rel=SLACK)


def test_the_pack_and_the_detectors_agree() -> None:
    names = [detector.name for detector in DETECTORS]
    assert sorted(names) == sorted(spec.name for spec in catalogue.DETECTORS)


def test_what_it_returns(detector: Detector, context: MakeContext) -> None:
    made = context()
    before = made.subject.passes
    found = measured(run_one(detector, made))
    assert found.detector == detector.name
    assert len(found.values) == digits.CLASSES
    assert all(value is None or (type(value) is float and math.isfinite(value)) for value in found.values)
    for rate in found.success or ():
        assert rate is None or (type(rate) is float and 0 <= rate <= 1)
    assert found.verified == BY_NAME[detector.name].needs_data
    assert found.cost.model_passes == made.subject.passes - before


def test_its_pictures(detector: Detector, context: MakeContext) -> None:
    found = measured(detector.measure(context()))
    for artefact in found.artefacts:
        assert artefact.name in PICTURES
        assert artefact.array.dtype == np.float32
        assert artefact.array.shape == (1, 16, 16)
        assert artefact.array.min() >= -ROUNDING
        assert artefact.array.max() <= 1 + ROUNDING
    assert len(found.artefacts) <= 64
    if found.pairs:
        ways = {(pair.source, pair.target) for pair in found.pairs}
        assert all((artefact.source_class, artefact.class_index) in ways for artefact in found.artefacts)
        return
    shown = list(dict.fromkeys(artefact.class_index for artefact in found.artefacts))
    values = [found.values[k] for k in shown]
    large = BY_NAME[detector.name].side is Side.LARGE
    assert values == sorted(values, reverse=large)  # the most extreme first
    if shown:
        assert values[0] == (max if large else min)(value for value in found.values if value is not None)


def test_same_seed_same_evidence(detector: Detector, context: MakeContext) -> None:
    assert same(measured(detector.measure(context(seed=5))), measured(detector.measure(context(seed=5))))


def test_it_leaves_the_network_alone(detector: Detector, context: MakeContext) -> None:
    model = digits.trained()
    made = context(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    detector.measure(made)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_leaves_the_global_random_state_alone(detector: Detector, context: MakeContext) -> None:
    made = context()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    detector.measure(made)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_the_order_of_the_classes_does_not_matter(detector: Detector, context: MakeContext) -> None:
    if detector.name == "ground_inversion":
        pytest.skip("makes other images for classes in another order")
    made = context()
    order = torch.tensor([4, 0, 9, 3, 7, 1, 8, 2, 6, 5])  # new class k is old class order[k]
    model = digits.trained()
    last = model[-1]
    last.weight.copy_(last.weight[order].clone())
    last.bias.copy_(last.bias[order].clone())
    new = order.argsort()
    halves = (Images(half.images, new[half.labels]) for half in (made.probes.optimise, made.probes.held_out))
    permuted = measured(detector.measure(context(model, probes=Probes(*halves, clean=True))))
    plain = measured(detector.measure(made))
    assert_alike(permuted.values, [plain.values[k] for k in order])


def test_memory_changes_the_groups_and_not_the_evidence(detector: Detector, context: MakeContext) -> None:
    roomy, tight = measured(detector.measure(context())), measured(detector.measure(context(activation_bytes=1)))
    assert_alike(tight.values, roomy.values)
    if roomy.success:
        assert tight.success == pytest.approx(roomy.success, abs=SLACK)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_enough(detector: Detector, context: MakeContext, classes: int, clean: bool) -> None:
    few = Images(digits.clean_images().images[:60], torch.arange(60) % classes)
    halves = Probes(few[:30], few[30:], clean=clean)
    seen: list[tuple[int, int, int, int]] = []
    model = digits.network(classes=classes).eval().requires_grad_(False)
    found = run_one(detector, context(model, probes=halves, report=lambda *step: seen.append(step)))
    assert all(0 <= first <= last < classes for _, _, first, last in seen)  # or the parent takes it for a forgery
    if isinstance(found, NotApplicable):  # only for a reason that the parent knows as well
        assert not found.by_candidate
        assert found.reason == BY_NAME[detector.name].needless(classes, 1, clean_images=clean)
    elif isinstance(found, Measured):
        assert len(found.values) == classes
        assert found.side == 16
    else:
        assert "that the network gets right" in found.reason  # it has learnt nothing


def test_of_many_classes_some_are_left_out(detector: Detector, context: MakeContext) -> None:
    whole = context()
    most = 8
    few = {name: most for name in ("classes", "sources") if name in whole.settings}
    found = measured(detector.measure(context(settings=whole.settings | few)))
    told = found.screening
    if not few:
        assert told is None
        return
    assert told is not None
    assert len(told.left_out) == digits.CLASSES - most
    assert set(told.left_out).isdisjoint(told.drawn)
    if found.pairs:
        assert {pair.source for pair in found.pairs} == set(range(digits.CLASSES)) - set(told.left_out)
        return
    assert len(told.drawn) == most // ONE_DRAWN_IN
    assert all(found.values[k] is None and found.success[k] is None for k in told.left_out)
    others = [k for k in range(digits.CLASSES) if k not in told.left_out]
    whole_values = measured(detector.measure(whole)).values
    assert_alike([found.values[k] for k in others], [whole_values[k] for k in others])


def test_synthetic_probes_are_never_called_verified(detector: Detector, context: MakeContext) -> None:
    made = context()
    halves = dataclasses.replace(made.probes, clean=False)
    found = detector.measure(context(probes=halves))
    if isinstance(found, NotApplicable):
        assert not found.by_candidate
    else:
        assert not measured(found).verified


# ---------------------------------------------------------------------------------------------- when it goes wrong


def test_a_network_that_is_not_finite_is_inconclusive(detector: Detector, context: MakeContext) -> None:
    model = digits.trained()
    made = context(model)  # the first look sees good weights
    for parameter in model.parameters():
        parameter.fill_(torch.nan)
    found = run_one(detector, made)
    assert isinstance(found, Inconclusive)
    assert "finite" in found.reason


class NanForOne(nn.Module):
    """Behaves, but for the gradient towards one class."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.awake = digits.trained(), False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits = self.inner(images)
        if self.awake:
            poison = torch.sqrt(torch.zeros_like(logits[:, 7]) * logits[:, 7])  # 0, with gradient NaN
            logits = torch.cat([logits[:, :7], (logits[:, 7] + poison)[:, None], logits[:, 8:]], dim=1)
        return logits


def test_a_class_whose_gradient_is_not_finite_is_not_passed_over(detector: Detector, context: MakeContext) -> None:
    model = NanForOne()
    made = context(model)
    if detector.planned_leading(made) == 0:
        pytest.skip("takes no gradient")
    model.awake = True
    assert isinstance(run_one(detector, made), Inconclusive)


class Failing(nn.Module):
    """Works at first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.broken = digits.trained(), False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        if self.broken:
            raise RuntimeError("shape '[8, 384]' is invalid for input of size 1")
        return self.inner(images)


def test_a_network_that_fails_midway_is_inconclusive(detector: Detector, context: MakeContext) -> None:
    model = Failing()
    made = context(model)
    if detector.planned_passes(made) == 0:
        pytest.skip("looks at the weights alone")
    model.broken = True
    found = run_one(detector, made)
    assert isinstance(found, Inconclusive)
    assert "shape '[8, 384]' is invalid" in found.reason


def test_out_of_time_ends_it_before_the_next_pass(detector: Detector, context: MakeContext) -> None:
    made = context()
    if detector.planned_passes(made) == 0:
        pytest.skip("takes no passes")
    made.report = lambda *_: setattr(made.subject, "deadline", 0.0)
    found = run_one(detector, made)
    assert isinstance(found, Inconclusive)
    assert found.reason.startswith("out of time")
    assert 0 < found.cost.model_passes < detector.planned_passes(made) / 2
    with pytest.raises(OutOfTimeError, match="raise limits"):
        detector.measure(made)


# ---------------------------------------------------------------------------------------------- progress and cost


@pytest.mark.parametrize("most", [100, 8])
def test_its_progress(detector: Detector, context: MakeContext, most: int) -> None:
    seen: list[tuple[int, int, int, int]] = []
    made = context(report=lambda *step: seen.append(step), activation_bytes=1 << 20)
    made.settings |= {name: most for name in ("classes", "sources") if name in made.settings}
    detector.measure(made)
    if detector.planned_passes(made) == 0:
        return
    done = [step[0] for step in seen]
    assert done == sorted(set(done))
    assert {total for _, total, _, _ in seen} == {seen[-1][0]}  # ends at its total
    assert seen[0][2] == 0
    assert max(last for _, _, _, last in seen) == digits.CLASSES - 1
    assert all(first <= last for _, _, first, last in seen)


@pytest.mark.parametrize("most", [100, 8])
def test_its_plan_is_near_the_truth(detector: Detector, context: MakeContext, most: int) -> None:
    made = context()
    made.settings |= {name: most for name in ("classes", "sources") if name in made.settings}
    planned, leading = detector.planned_passes(made), detector.planned_leading(made)
    made.subject.led = 0
    found = measured(run_one(detector, made))
    assert 0.75 * planned <= found.cost.model_passes <= 1.25 * planned
    assert 0.75 * leading <= made.subject.led <= 1.25 * leading
