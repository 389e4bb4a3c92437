"""The second look at the leading triggers: other seed, other half; luck does not repeat."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from support import digits

from backdoor_gate.records import InputSpec, Measured
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors import DETECTORS, confirmation, groups
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.network.subject import OutOfTimeError, Subject
from backdoor_gate.scan.triggers import all_to_one
from backdoor_gate.scan.triggers.arms import Arms
from backdoor_gate.scan.triggers.families import Patch
from backdoor_gate.verdict.assess import assess

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.groups import Inverted

SPEC = InputSpec((1, 16, 16))
SETTINGS = {"steps": 100, "images": 12, "classes": 100}


def context(planted: str | None, **changes: Any) -> Context:
    subject = Subject(digits.loaded(digits.trained(planted)), SPEC, digits.CLASSES, torch.device("cpu"))
    split = probes.from_clean(digits.clean_images(), seed=0)
    return replace(Context(subject, split, SETTINGS, 0, 256 << 20), **changes)


@cache
def inverted(planted: str | None) -> Inverted:
    made = context(planted)
    return groups.invert_arms(made, Patch(SPEC), all_to_one(10), made.probes.optimise)


def second(planted: str | None, leading: list[int], **changes: Any) -> tuple[confirmation.Confirmation, ...]:
    made = confirmation.stages(context(planted, **changes), 10).second
    return confirmation.confirm(
        made, Patch(SPEC), inverted(planted), leading, made.probes.optimise, made.probes.held_out, from_source=False
    )


def test_a_planted_trigger_is_found_again() -> None:
    (found,) = second("patch", [digits.TARGET])
    assert (found.source, found.target) == (None, digits.TARGET)
    assert found.strength is not None
    assert found.success is not None
    assert found.strength < 1.5 * float(inverted("patch").strength[digits.TARGET])
    assert found.success > 0.85


def test_what_a_verdict_may_name_is_replayed_exactly() -> None:
    made, family = context("patch"), Patch(SPEC)
    calls: dict[str, int] = {"logits": 0, "leading": 0}
    searched, images = inverted("patch"), made.probes.held_out

    def counted(name: str) -> Any:
        real = getattr(made.subject, name)

        def run(given: torch.Tensor) -> torch.Tensor:
            calls[name] += len(given)
            return real(given)

        return run

    for name in calls:
        setattr(made.subject, name, counted(name))
    assert searched.success.isnan().all()
    assert searched.rates(0) != searched.rates(1) == (None,) * 10
    found = groups.replayed(made.subject, family, searched, images, [2, digits.TARGET])
    each = min(len(images), groups.REPLAYED_IMAGES)
    assert calls == {"logits": 2 * each, "leading": 8 * each}
    assert found.success[digits.TARGET] > 0.85
    assert found.success.isfinite().all()
    assert found.strengths() == searched.strengths()
    alone = groups.replayed(made.subject, family, searched, images, range(10))
    assert torch.allclose(alone.success, found.success, atol=0.05)
    assert torch.equal(alone.counts, found.counts)


def test_a_lucky_inversion_does_not_repeat() -> None:
    """A search whose value of one class is a twentieth of what it should be blocks, if nobody looks again."""
    first = inverted(None)
    values = [float(strength) for strength in first.strength]
    values[6] /= 20
    lucky = Measured("neural_cleanse", tuple(values), success=(1.0,) * 10, verified=True)
    assert assess(lucky, required=True, rate=0.01, max_unmeasured=0.2).blocking
    looked_at = replace(lucky, confirmations=second(None, [6]))
    result = assess(looked_at, required=True, rate=0.01, max_unmeasured=0.2)
    assert not result.blocking
    assert result.suspect_classes == (6,)


def test_another_seed_and_the_halves_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def record(*given: Any) -> Inverted:
        asked.append(given)
        return real(*given)

    real = groups.invert_arms
    first = inverted("patch")
    monkeypatch.setattr(groups, "invert_arms", record)
    made = context("patch")
    confirmation.confirm(
        confirmation.stages(made, 10).second,
        Patch(SPEC),
        first,
        [3],
        made.probes.optimise,
        made.probes.held_out,
        from_source=False,
    )
    ((again, _, arms, optimise),) = asked
    assert again.seed != made.seed
    assert again.settings == made.settings
    assert optimise is made.probes.held_out
    assert arms.target.tolist() == [3]


@pytest.mark.parametrize("error", [OutOfTimeError("out of time"), FloatingPointError("not finite")])
def test_a_look_that_fails_takes_nothing_away(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inverted("patch")

    def fail(*_: Any) -> Inverted:
        raise error

    monkeypatch.setattr(groups, "invert_arms", fail)
    assert second("patch", [3]) == ()
    assert first.finite()


def test_nothing_works_nothing_to_look_at() -> None:
    assert second("patch", []) == ()


@pytest.mark.parametrize(("arms", "again"), [(2, 1), (10, 1), (43, 4), (90, 10), (387, 43)])
def test_one_arm_in_nine(arms: int, again: int) -> None:
    assert confirmation.looked_at(arms) == again


@pytest.mark.parametrize("name", ["neural_cleanse", "pair_patch"])
def test_each_detector_looks_again_at_what_leads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "strongest", lambda *_, **__: math.inf)
    (detector,) = (detector for detector in DETECTORS if detector.name == name)
    steps: list[float] = []
    small = {"steps": 20, "images": 6, "classes": 100, "sources": 100}
    found = detector.measure(
        context("patch", settings=small, report=lambda done, total, *_: steps.append(done / total))
    )
    assert isinstance(found, Measured)
    assert steps == sorted(steps)
    assert steps[-1] == 1
    assert steps[-len(steps) // 4] < 1
    ways = [(again.source, again.target) for again in found.confirmations]
    if found.pairs:
        assert len({source for source, _ in ways}) == len(ways) >= 8
        assert set(ways) <= {(pair.source, pair.target) for pair in found.pairs}
    else:
        known = {k: value for k, value in enumerate(found.values) if value is not None}
        assert ways == [(None, min(known, key=lambda k: known[k]))]


@pytest.mark.parametrize("name", ["neural_cleanse", "pair_patch"])
def test_what_is_too_strong_to_count_is_neither_looked_at_again_nor_compared(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (detector,) = (detector for detector in DETECTORS if detector.name == name)
    small = {"steps": 20, "images": 6, "classes": 100, "sources": 100}
    asked: list[tuple[str, int, bool]] = []

    def strongest(name: str, side: int, *, clean_images: bool) -> float:
        asked.append((name, side, clean_images))
        return 0.0

    def control() -> None:
        raise AssertionError("nobody needs the control")

    monkeypatch.setattr(confirmation, "strongest", strongest)
    steps: list[float] = []
    made = context("patch", settings=small, report=lambda done, total, *_: steps.append(done / total))
    made.control = control
    found = detector.measure(made)
    assert isinstance(found, Measured)
    assert any(value is not None for value in found.values)
    assert (found.confirmations, found.controls) == ((), ())
    assert asked == [(name, 16, True)]
    assert steps == sorted(steps)
    assert steps[-1] == 1


@pytest.mark.parametrize(("near", "kept"), [(1.0, [3, 0]), (1.25, [3, 0, 1])])
def test_weak_enough_to_count(near: float, kept: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "strongest", lambda *_, **__: 0.5)
    first = replace(inverted("patch"), strength=torch.tensor([0.5, 0.6, 0.7, 0.1, 0.2, *[9.0] * 5]))
    assert confirmation.weak_enough(context("patch"), "neural_cleanse", first, [3, 0, 1, 2, 9], near) == kept


@pytest.mark.parametrize(("from_source", "source"), [(False, None), (True, 0)])
def test_one_source_is_named_by_detectors_of_pairs_alone(from_source: bool, source: int | None) -> None:
    """Of two classes all others are one: what the arm is called follows from the detector."""
    made = context("patch")
    halves = made.probes.optimise, made.probes.held_out
    arms = Arms(torch.tensor([digits.TARGET]), torch.eye(digits.CLASSES, dtype=torch.bool)[:1])
    first = groups.invert_arms(made, Patch(SPEC), arms, halves[0])
    second_look = confirmation.stages(made, 1).second
    (found,) = confirmation.confirm(second_look, Patch(SPEC), first, [0], *halves, from_source=from_source)
    assert (found.source, found.target) == (source, digits.TARGET)
