"""A scan on another device than the processor: nothing is mixed up, nothing comes out otherwise, and no step waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from support import digits
from support.forging import exported
from support.small_networks import Normed, Residual, Transformer
from torch import nn

from backdoor_gate.catalogue import BY_NAME, DetectorPlan
from backdoor_gate.records import (
    Cost,
    Declared,
    Evidence,
    Inconclusive,
    InputSpec,
    Job,
    Limits,
    Measured,
    NotApplicable,
)
from backdoor_gate.scan import control, loading, session
from backdoor_gate.scan.data.clean import CleanImages
from backdoor_gate.scan.network import precision
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import Arms, InversionBudget, all_to_one, invert, pairs
from backdoor_gate.scan.triggers.families import FAMILIES, TriggerFamily
from benchmarks import pretended

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Iterator

    from backdoor_gate.scan.loading.interface import LoadedModel

CPU = torch.device("cpu")
FEW = {"steps": 6, "images": 4, "restarts": 2}
SPEC = InputSpec((1, 16, 16))
LAST = nn.Flatten(), nn.Linear(12 * 16, 10)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the other processors to others, and do not train the control to the end."""
    torch.set_num_threads(1)
    monkeypatch.setattr(control, "STEPS", 40)


@pytest.fixture
def elsewhere() -> Iterator[torch.device]:
    """Another device."""
    with pretended.usable() as device:
        yield device


SOME = ("final_layer", "max_margin", "neural_cleanse")
"""Of detectors, what tells of a network that it runs."""


def plans(names: Collection[str]) -> tuple[DetectorPlan, ...]:
    """Return detectors with the settings of a short run."""
    usual = {name: BY_NAME[name].defaults() for name in names}
    few = {name: {key: FEW.get(key, value) for key, value in each.items()} for name, each in usual.items()}
    return tuple(DetectorPlan(name, required=False, settings=settings) for name, settings in few.items())


def job(names: Collection[str]) -> Job:
    return Job(
        candidate=Path("unused"), formats=("pt2",), declared=Declared(), signature=None, architecture=None, data=None,
        max_images=200, detectors=plans(names), device="auto", seed=0, limits=Limits(1000.0, 8 << 30),
    )  # fmt: skip


def scanned(
    model: LoadedModel, clean: CleanImages | None, names: Collection[str], device: torch.device
) -> list[Evidence]:
    """Scan as a session does, and leave out what is of the machine."""
    subject = Subject(model, SPEC if clean is None else InputSpec(clean.images.shape[1:]), None, device)
    images, _ = session.prepare(subject, clean, seed=0)
    kept: dict[str, Any] = {}
    evidence = session.run_detectors(job(names), subject, images, lambda _: None, kept.__setitem__)
    assert session.embed_weakest(subject, images, kept) is not None or not kept
    return [without_time(each) for each in evidence]


def without_time(evidence: Evidence) -> Evidence:
    return evidence if isinstance(evidence, NotApplicable) else replace(evidence, cost=Cost())


def assert_same(one: Evidence, other: Evidence) -> None:
    """Assert that all numbers are equal; pictures may be off by rounding, where attention runs by another kernel."""
    if isinstance(one, Measured) and isinstance(other, Measured):
        for picture, twin in zip(one.artefacts, other.artefacts, strict=True):
            assert (picture.name, picture.class_index) == (twin.name, twin.class_index)
            assert np.allclose(picture.array, twin.array, atol=1e-4)
        one, other = replace(one, artefacts=()), replace(other, artefacts=())
    assert one == other


def in_colour(_: Path) -> LoadedModel:
    """Return a network for the digits that takes them in colour."""
    mixed = nn.Conv2d(3, 1, 1, bias=False).requires_grad_(requires_grad=False)
    mixed.weight.fill_(1 / sum(COLOURS))
    return digits.loaded(nn.Sequential(mixed, digits.trained()).eval())


def untrained(kind: type[nn.Module]) -> Callable[[Path], LoadedModel]:
    def make(_: Path) -> LoadedModel:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return digits.loaded(kind().eval().requires_grad_(requires_grad=False))

    return make


def from_graph(folder: Path) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (folder / "model.pt2").write_bytes(exported(Normed().eval()))
    return loading.load(folder, ("pt2",), None, None, None)


COLOURS = (0.9, 0.6, 0.3)


def clean(channels: int) -> CleanImages | None:
    """Return digits of one colour, or in three at once; of no channels, none."""
    images, labels = digits.clean_images()[:120].images, digits.clean_images()[:120].labels
    shares = torch.tensor(COLOURS if channels == 3 else [1.0])[:, None, None]
    return CleanImages(images * shares, labels) if channels else None


@pytest.mark.parametrize(
    ("make", "channels", "names"),
    [
        pytest.param(lambda _: digits.loaded(digits.trained("patch")), 1, BY_NAME, id="grey"),
        pytest.param(in_colour, 3, BY_NAME, id="colour"),
        pytest.param(lambda _: digits.loaded(digits.trained()), 0, (*SOME, "ground_inversion"), id="without images"),
        pytest.param(untrained(Residual), 3, SOME, id="residual"),
        pytest.param(untrained(Transformer), 3, SOME, id="transformer"),
        pytest.param(from_graph, 3, SOME, id="graph"),
    ],
)
def test_a_scan_finds_the_same(  # noqa: PLR0917 (the network, and where)
    make: Callable[[Path], LoadedModel],
    channels: int,
    names: Collection[str],
    elsewhere: torch.device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "has_instructions", lambda _: False)
    here, there = (scanned(make(tmp_path), clean(channels), names, device) for device in (CPU, elsewhere))
    assert not any(isinstance(each, Inconclusive) for each in here), here
    for one, other in zip(here, there, strict=True):
        assert_same(one, other)


def test_a_scan_in_bfloat16_measures_all(elsewhere: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "pays", lambda *_: True)
    evidence = scanned(digits.loaded(digits.trained("patch")), clean(1), BY_NAME, elsewhere)
    assert all(isinstance(each, Measured) for each in evidence)


# ---------------------------------------------------------------------------------------------- waits

ARMS = {
    "all to one": all_to_one(10),
    "pairs": pairs(torch.arange(10), 10),
    "blocks of pairs": replace(pairs(torch.arange(10), 10), among=torch.eye(10).roll(1, 0).repeat(9, 1).bool()),
}


@pytest.mark.parametrize("halved", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("arms", ARMS.values(), ids=ARMS)
@pytest.mark.parametrize("kind", FAMILIES, ids=lambda kind: kind.__name__)
def test_no_step_of_a_search_waits(
    kind: type[TriggerFamily], arms: Arms, halved: bool, elsewhere: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "pays", lambda *_: halved)
    network = nn.Sequential(digits.trained()[:3], nn.AdaptiveAvgPool2d(4), *LAST)
    subject = Subject(digits.loaded(network), SPEC, 10, elsewhere)
    images = digits.clean_images()[:50].to(elsewhere)

    def waits_of(steps: int) -> Counter[str]:
        budget, generator = InversionBudget(steps, 4), torch.Generator().manual_seed(0)
        with pretended.counted() as counts:
            invert(subject.leading, kind(SPEC), arms.to(elsewhere), images, budget, generator)
        return counts.waits

    waits_of(2)  # what does not change is taken there once
    assert waits_of(3) == waits_of(7)


def test_no_step_of_the_control_waits(elsewhere: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.clean_images()[:100].to(elsewhere)

    def waits_of(steps: int) -> Counter[str]:
        monkeypatch.setattr(control, "STEPS", steps)
        with pretended.counted() as counts:
            control.train(images, SPEC, 10, seed=0)
        return counts.waits

    assert waits_of(4) == waits_of(12)


def test_there_a_look_is_a_wait_and_nothing_is_mixed(elsewhere: torch.device) -> None:
    values = torch.arange(4.0).to(elsewhere)
    with pretended.counted() as counts:
        assert float(values.sum()) == 6
        values[[0, 1]], values[values > 2], values.tolist()
    assert counts.waits.total() == 4
    assert counts.operators >= 4
    with pytest.raises(RuntimeError, match="same device"):
        values + torch.ones(4)
