"""Detectors side by side: the same evidence as one after the other, and the cores given back."""

from __future__ import annotations

import copy
import threading
import time
from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import Tensor, nn

from backdoor_gate.catalogue import DetectorPlan
from backdoor_gate.records import Declared, Evidence, InputSpec, Job, Limits, Measured
from backdoor_gate.scan import session, streams
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backdoor_gate.records import Progress

CPU = torch.device("cpu")
SPEC = InputSpec((1, 16, 16))
PLANS = (
    DetectorPlan("max_margin", required=True, settings={"restarts": 2, "steps": 10}),
    DetectorPlan("neural_cleanse", required=True, settings={"steps": 15, "images": 6, "classes": 100}),
    DetectorPlan("spectral_inversion", required=True, settings={"steps": 15, "images": 6, "classes": 100}),
    DetectorPlan("pair_patch", required=True, settings={"steps": 10, "images": 3, "sources": 100}),
)


@pytest.fixture
def cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def evidence_of(
    folder: Path,
    at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
    seen: list[Progress],
    subject: Subject | None = None,
) -> list[Evidence]:
    monkeypatch.setattr(session, "streams_of", lambda _: at_a_time)
    subject = subject or Subject(digits.loaded(digits.trained("patch")), SPEC, digits.CLASSES, CPU)
    job = Job(
        candidate=folder, formats=("pt2",), declared=Declared(), signature=None, architecture=None, data=None,
        max_images=500, detectors=PLANS, device="cpu", seed=0, limits=Limits(500, 8 << 30),
    )  # fmt: skip
    clean = probes.from_clean(digits.clean_images(), seed=0)
    return list(session.run_detectors(job, subject, clean, seen.append))


def test_what_waits_for_no_control_begins_and_then_the_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []
    evidence_of(tmp_path, 1, monkeypatch, seen)
    begun = list(dict.fromkeys(PLANS[step.detector].name for step in seen))
    assert begun == ["max_margin", "pair_patch", "neural_cleanse", "spectral_inversion"]


@pytest.mark.usefixtures("cores")
def test_the_same_evidence_however_many_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = evidence_of(tmp_path, 1, monkeypatch, [])
    seen: list[Progress] = []
    three = evidence_of(tmp_path, 3, monkeypatch, seen)
    assert [each.detector for each in three] == [plan.name for plan in PLANS]
    for alone, beside in zip(one, three, strict=True):
        assert isinstance(alone, Measured)
        assert isinstance(beside, Measured)
        assert beside.values == pytest.approx(alone.values, rel=0.02)
        assert abs(beside.cost.model_passes - alone.cost.model_passes) <= 0.2 * alone.cost.model_passes
        assert len(beside.controls) == len(alone.controls)
    assert {step.detector for step in seen} == {0, 1, 2, 3}
    assert all(step.seconds_left is None or step.seconds_left >= 0 for step in seen)


@pytest.mark.usefixtures("cores")
def test_each_stream_has_its_share_of_the_cores_and_gives_it_back() -> None:
    met = threading.Barrier(3, timeout=30)

    def share() -> int:
        met.wait()  # so that each call has a thread of its own
        return torch.get_num_threads()

    with streams.in_streams(3) as pool:
        assert [each.result() for each in [pool.submit(share) for _ in range(3)]] == [1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("cores")
def test_the_cores_are_given_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), streams.in_streams(2) as pool:
        pool.submit(lambda: 1 // 0).result()
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("cores")
def test_a_stream_for_each_core_but_one_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.streams_of(CPU) == 3
    assert streams.streams_of(torch.device("cuda")) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert streams.streams_of(CPU) == streams.MOST_STREAMS


class Keeping(nn.Module):
    """A network that keeps its input on itself for the length of a pass, as research code does."""

    def __init__(self, *, copyable: bool) -> None:
        super().__init__()
        self.inner = digits.loaded(digits.trained("patch")).network
        self.copyable = copyable
        self.kept: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Keeping:
        """Return a copy, where there may be one."""
        if not self.copyable:
            raise TypeError("cannot pickle this")
        other = Keeping(copyable=True)
        other.inner = copy.deepcopy(self.inner, memo)
        return other

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the images that are kept."""
        self.kept = images
        time.sleep(0.0005)  # another thread's turn
        if self.kept is not images:
            raise RuntimeError("another detector's images")
        return self.inner(images)  # type: ignore[no-any-return]


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("copyable", [True, False])
def test_what_a_network_keeps_is_each_detectors_own(
    copyable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(LoadedModel(Keeping(copyable=copyable), "state_dict", None), SPEC, digits.CLASSES, CPU)
    found = evidence_of(tmp_path, 3, monkeypatch, [], subject)
    assert [type(each) for each in found] == [Measured] * len(PLANS)


def test_a_copy_has_the_same_weights_and_not_once_more() -> None:
    subject = Subject(digits.loaded(digits.trained("patch")), SPEC, digits.CLASSES, CPU)
    images = torch.rand(4, *SPEC.shape)
    other = subject.apart()
    assert torch.equal(other.logits(images), subject.logits(images))
    weights, others = (list(one._network.parameters()) for one in (subject, other))
    assert weights
    assert all(one is another for one, another in zip(weights, others, strict=True))
    assert (subject.passes, other.passes) == (subject.passes, 4)
