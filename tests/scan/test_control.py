"""The control learns the classes from a few hundred images, depends on nothing else, and finds what is planted."""

from __future__ import annotations

import math
import time
from functools import cache

import pytest
import torch
from support import digits
from torch import Tensor

from backdoor_gate.records import InputSpec, Measured
from backdoor_gate.scan import control, session
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.data.clean import CleanImages
from backdoor_gate.scan.data.synthetic import synthetic
from backdoor_gate.scan.detectors import confirmation, inversion
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.neural_cleanse import NeuralCleanse
from backdoor_gate.scan.detectors.pair_inversion import PairPatch
from backdoor_gate.scan.network.subject import OutOfTimeError, Subject
from backdoor_gate.scan.session import control_of
from backdoor_gate.scan.triggers import Images
from backdoor_gate.verdict.control import expected_strengths

SPEC = InputSpec((1, 16, 16))
CPU = torch.device("cpu")


@cache
def trained(seed: int = 0) -> Subject:
    found = control.train(digits.clean_images(), SPEC, digits.CLASSES, seed)
    assert found is not None
    return found


def answers(subject: Subject, images: Tensor) -> Tensor:
    with torch.no_grad():
        return subject.logits(images)


def test_it_learns_the_classes() -> None:
    unseen, _ = digits.digits()
    right = answers(trained(), unseen.images).argmax(dim=1) == unseen.labels
    assert float(right.float().mean()) > 0.9


@pytest.mark.parametrize(("channels", "ways"), [(1, 4), (3, 6)])
def test_no_change_leaves_the_images_and_each_is_changed_by_its_own(channels: int, ways: int) -> None:
    spec = InputSpec((channels, 16, 16))
    images = torch.rand((3, *spec.shape), generator=torch.Generator().manual_seed(0))
    change = torch.zeros(control._ways(spec), 3)
    assert len(change) == ways
    assert torch.allclose(control._changed(images, spec, change), images, atol=1e-5)
    change.view(-1)[2 * 3 + 2] = 0.5  # the places come in pairs, image by image: the second's first
    moved = control._changed(images, spec, change)
    assert torch.allclose(moved[[0, 2]], images[[0, 2]], atol=1e-5)
    assert not torch.allclose(moved[1], images[1], atol=1e-2)
    along = 0.5 * control.SHIFT * 16 / 2  # in pixels, and along the rows
    whole, part = int(along), along % 1
    expected = torch.lerp(images[1, :, :, whole:-1], images[1, :, :, whole + 1 :], part)
    assert torch.allclose(moved[1, :, :, : 15 - whole], expected, atol=1e-4)


def test_the_seed_alone_decides() -> None:
    images = digits.clean_images().images[:50]
    before = torch.random.get_rng_state()
    torch.manual_seed(7)
    again = control.train(digits.clean_images(), SPEC, digits.CLASSES, 0)
    assert again is not None
    torch.random.set_rng_state(before)
    assert torch.equal(answers(again, images), answers(trained(), images))
    assert not torch.equal(answers(trained(1), images), answers(trained(), images))


def test_the_global_randomness_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    control.train(digits.clean_images()[:60], SPEC, digits.CLASSES, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0)])
def test_the_range_does_not_matter(low: float, high: float) -> None:
    clean = digits.clean_images()
    scaled = Images(low + (high - low) * clean.images, clean.labels)
    found = control.train(scaled, InputSpec(SPEC.shape, low, high, mean=(0.1,), std=(3.0,)), digits.CLASSES, 0)
    assert found is not None
    right = answers(found, scaled.images).argmax(dim=1) == clean.labels
    assert float(right.float().mean()) > 0.95


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 33, 40), (1, 100, 70)])
def test_any_shape_will_do(shape: tuple[int, int, int]) -> None:
    labels = torch.arange(40) % 2
    images = Images(torch.rand((40, *shape), generator=torch.Generator().manual_seed(0)), labels)
    found = control.train(images, InputSpec(shape), 2, 0)
    assert found is not None
    assert answers(found, images.images).shape == (40, 2)


def test_too_few_images_make_none() -> None:
    assert control.train(digits.clean_images()[:49], SPEC, digits.CLASSES, 0) is None


def test_no_time_is_left() -> None:
    with pytest.raises(OutOfTimeError):
        control.train(digits.clean_images(), SPEC, digits.CLASSES, 0, time.monotonic() - 1)


def test_the_candidates_own_answers_make_none() -> None:
    subject = Subject(digits.loaded(digits.trained(None)), SPEC, digits.CLASSES, CPU)
    assert control_of(subject, probes.from_clean(digits.clean_images(), seed=0), 0) is not None
    assert control_of(subject, probes.from_clean(digits.clean_images(), seed=0, labelled=False), 0) is None
    assert control_of(subject, synthetic(subject, seed=0), 0) is None
    clean = digits.clean_images()
    labelled, facts = session.prepare(subject, CleanImages(clean.images, clean.labels), 0)
    assert labelled.labelled
    assert facts.accuracy is not None
    unlabelled, facts = session.prepare(subject, CleanImages(clean.images, None), 0)
    assert not unlabelled.labelled
    assert facts.accuracy is None


def shares(planted: str | None) -> dict[int, float]:
    """Return each class's share of what the control leads one to expect, by patches."""
    subject = Subject(digits.loaded(digits.trained(planted)), SPEC, digits.CLASSES, CPU)
    clean = probes.from_clean(digits.clean_images(), seed=0)
    context = Context(subject, clean, {"steps": 60, "images": 8, "classes": 100}, 0, 256 << 20, control=trained)
    found = NeuralCleanse().measure(context)
    assert isinstance(found, Measured)
    assert [(each.source, each.target) for each in found.controls] == [(None, k) for k in range(10)]
    expected = expected_strengths({(None, k): value for k, value in enumerate(found.values)}, found.controls)
    return {k: (value or 0.0) / expected[None, k] for k, value in enumerate(found.values) if (None, k) in expected}


def test_what_is_planted_is_far_below_the_control(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "strongest", lambda *_, **__: math.inf)
    found = shares("patch")
    assert min(found, key=found.__getitem__) == digits.TARGET
    assert found[digits.TARGET] < 0.25
    assert min(shares(None).values()) > 0.25


def test_some_pairs_are_compared_the_leading_ones_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "strongest", lambda *_, **__: math.inf)
    subject = Subject(digits.loaded(digits.trained(None)), SPEC, digits.CLASSES, CPU)
    clean = probes.from_clean(digits.clean_images(), seed=0)
    context = Context(subject, clean, {"steps": 20, "images": 3, "sources": 100}, 0, 256 << 20, control=trained)
    found = PairPatch().measure(context)
    assert isinstance(found, Measured)
    ways = {(each.source, each.target) for each in found.controls}
    assert 10 <= len(ways) <= 20
    assert {(each.source, each.target) for each in found.confirmations} <= ways
    assert {source for source, _ in ways} == set(range(10))


def test_a_class_below_the_control_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it comes last by its strength."""
    monkeypatch.setattr(inversion, "HANDICAP", 1e6)
    subject = Subject(digits.loaded(digits.trained("patch")), SPEC, digits.CLASSES, CPU)
    clean = probes.from_clean(digits.clean_images(), seed=0)
    made = Context(
        subject, clean, {"steps": 60, "images": 8, "classes": 100}, 0, 256 << 20, noise_classes=(digits.TARGET,)
    )
    made.control = trained
    found = NeuralCleanse().measure(made)
    assert isinstance(found, Measured)
    assert digits.TARGET in {each.target for each in found.confirmations}
