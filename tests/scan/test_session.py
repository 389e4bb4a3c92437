"""The frame around the detectors: the order, the clock, the memory, and images that are too few."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from support import digits

from backdoor_gate.catalogue import MOST_UNDECLARED, DetectorPlan
from backdoor_gate.errors import UnmeasuredError, UsageError
from backdoor_gate.records import Declared, Inconclusive, InputSpec, Job, Limits, Measured
from backdoor_gate.scan import session
from backdoor_gate.scan.data.clean import CleanImages
from backdoor_gate.scan.detectors import DETECTORS, Detector
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.network import rounding
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.trigger_facts import Confirmation, Control, Pair

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.records import Progress

CPU = torch.device("cpu")
GIB = 1 << 30
PLANS = (
    DetectorPlan("warp_inversion", required=True, settings={"steps": 10, "images": 4, "classes": 100}),
    DetectorPlan("final_layer", required=False, settings={}),
    DetectorPlan("max_margin", required=True, settings={"restarts": 1, "steps": 5}),
)


def job(plans: tuple[DetectorPlan, ...] = PLANS, seconds: float = 100.0) -> Job:
    return Job(
        candidate=Path("unused"), formats=("pt2",), declared=Declared(), signature=None, architecture=None, data=None,
        max_images=500, detectors=plans, device="cpu", seed=0, limits=Limits(seconds, 8 * GIB),
    )  # fmt: skip


def subject() -> Subject:
    return Subject(digits.loaded(digits.trained()), InputSpec((1, 16, 16)), 10, CPU)


def clean(count: int, *, labelled: bool = True) -> CleanImages:
    images = digits.clean_images()[:count]
    return CleanImages(images.images, images.labels if labelled else None)


def test_evidence_comes_in_the_order_of_the_job() -> None:
    looked, seen = subject(), []
    images, _ = session.prepare(looked, clean(100), 0)
    evidence = session.run_detectors(job(), looked, images, seen.append)
    assert [e.detector for e in evidence] == [plan.name for plan in PLANS]
    assert all(isinstance(e, Measured) for e in evidence)
    assert all(e.cost.seconds > 0 for e in evidence)
    check_progress(seen)


def check_progress(seen: list[Progress]) -> None:
    assert {step.detector for step in seen} == {0, 2}  # the weights are read in one step
    for step in seen:
        assert 0 <= step.done <= step.total
        assert 0 <= step.classes[0] <= step.classes[1] <= 9
        assert step.seconds_left is None or step.seconds_left >= 0
    left = [step.seconds_left for step in seen if step.seconds_left is not None]
    assert left[-1] < left[0]


def test_what_does_not_fit_the_time_is_inconclusive_and_the_rest_is_told() -> None:
    looked = subject()
    images, _ = session.prepare(looked, clean(100), 0)
    looked.deadline = 0.0
    evidence = session.run_detectors(job(), looked, images, lambda _: None)
    assert [type(e) for e in evidence] == [Inconclusive, Measured, Inconclusive]


@pytest.mark.parametrize(
    "unfit",
    [
        {"values": (0.1, math.nan)},
        {"success": (1.0, math.inf)},
        {"pairs": (Pair(0, 1, 0.1, 1.0, -math.inf),)},
        {"confirmations": (Confirmation(None, 1, math.nan, None, None),)},
        {"controls": (Control(None, 1, math.inf),)},
    ],
    ids=lambda unfit: next(iter(unfit)),
)
def test_what_is_no_number_is_told_of_one_detector_and_not_of_the_scan(
    unfit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = next(each for each in DETECTORS if each.name == "warp_inversion")
    usual = Measured(detector.name, (0.1, None), success=(1.0, None))
    looked = subject()
    images, _ = session.prepare(looked, clean(100), 0)
    context = Context(looked, images, {}, 0, GIB)
    for evidence, kind in ((usual, Measured), (replace(usual, **unfit), Inconclusive)):

        def measure(_: Detector, context: Context, evidence: Measured = evidence) -> Measured:
            context.subject.logits(images.held_out.images[:7])
            return evidence

        monkeypatch.setattr(type(detector), "measure", measure)
        found = session.run_one(detector, context)
        assert isinstance(found, kind)
        assert found.cost.model_passes == 7
    assert found.reason == "what it measured is not finite"


@pytest.mark.parametrize(("declared", "classes"), [(None, MOST_UNDECLARED), (MOST_UNDECLARED + 1, MOST_UNDECLARED + 1)])
def test_many_classes_may_be_scanned(declared: int | None, classes: int) -> None:
    session.require_declared(replace(job(), declared=Declared(num_classes=declared)), classes)


def test_very_many_classes_must_be_declared_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_UNDECLARED", 9)
    monkeypatch.setattr(session.loading, "load", lambda *_: digits.loaded(digits.trained()))
    monkeypatch.setattr(session, "prepare", lambda *_: pytest.fail("too late"))
    order = replace(job(), declared=Declared(shape=(1, 16, 16)))
    with pytest.raises(
        UnmeasuredError, match="10 classes, and the policy does not say how many, as it must above 9"
    ) as told:
        session.measure(order, lambda _: None)
    assert (told.value.where, told.value.hint) == ("model.num_classes", "state their number in the policy")


# ---------------------------------------------------------------------------------------------- images


def test_clean_images_are_split_and_the_accuracy_is_told() -> None:
    images, facts = session.prepare(subject(), clean(200), 0)
    assert images.clean
    assert (facts.kind, facts.images) == ("clean", 200)
    assert facts.accuracy == pytest.approx(digits.accuracy(digits.trained()), abs=0.06)


def test_without_labels_the_network_gives_them_and_there_is_no_accuracy() -> None:
    looked = subject()
    images, facts = session.prepare(looked, clean(50, labelled=False), 0)
    assert facts.accuracy is None
    assert torch.equal(images.optimise.labels, looked.logits(images.optimise.images).argmax(dim=1))


def test_without_images_they_are_made() -> None:
    images, facts = session.prepare(subject(), None, 0)
    assert not images.clean
    assert (facts.kind, facts.images, facts.accuracy) == ("synthetic", len(images), None)


def test_too_few_images() -> None:
    with pytest.raises(UsageError, match="2 clean images are too few"):
        session.prepare(subject(), clean(2), 0)


def test_on_data_that_does_not_fit_no_detector_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.clean_images()
    np.savez(tmp_path / "shifted.npz", images=images.images.numpy(), labels=(images.labels.numpy() + 1) % 10)
    monkeypatch.setattr(session.loading, "load", lambda *_: digits.loaded(digits.trained()))
    declared = Declared(num_classes=10, shape=(1, 16, 16))
    scan = session.measure(replace(job(), data=tmp_path / "shifted.npz", declared=declared), lambda _: None)
    assert scan.data.accuracy is not None
    assert scan.data.is_guessing(10)
    told = "not run: the clean data does not fit the model"
    assert [getattr(each, "reason", "") for each in scan.evidence] == [told] * len(PLANS)


@pytest.fixture
def on_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Return a job for a trained network and images that fit it."""
    images = digits.clean_images()
    np.savez(tmp_path / "clean.npz", images=images.images.numpy(), labels=images.labels.numpy())
    monkeypatch.setattr(session.loading, "load", lambda *_: digits.loaded(digits.trained()))
    return replace(job(), data=tmp_path / "clean.npz", declared=Declared(num_classes=10, shape=(1, 16, 16)))


def test_a_network_that_rounding_decides_is_not_measured(on_digits: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MOST", "NOTHING"):
        monkeypatch.setattr(rounding, limit, 1e-8)  # what any network shows
    with pytest.raises(UnmeasuredError, match="rounding decides what the network computes"):
        session.measure(on_digits, lambda _: None)


def test_searches_are_led_by_ways_that_hold_on_the_clean_images(
    on_digits: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(Subject, "recheck_ways", lambda _, images: seen.append(images))
    monkeypatch.setattr(session, "run_detectors", lambda *_: ())
    session.measure(on_digits, lambda _: None)
    known = {image.numpy().tobytes() for image in digits.clean_images().images}
    assert all(image.numpy().tobytes() in known for image in seen[0])
