"""Every job crosses to the child unchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_records import make_job

from backdoor_gate.candidate_facts import Signature, TensorSignature
from backdoor_gate.catalogue import DetectorPlan
from backdoor_gate.errors import UsageError
from backdoor_gate.examination import Task
from backdoor_gate.records import Architecture, Declared, Job, Limits
from backdoor_gate.worker import confinement, orders
from backdoor_gate.worker.confinement import Confinement
from backdoor_gate.worker.grants import Access, Grant

FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.text(st.characters(exclude_characters="\0"), min_size=1).map(Path)
TENSORS = st.builds(TensorSignature, st.lists(st.integers(-1, 9)).map(tuple), st.sampled_from(["float32", "uint8"]))
FLOATS = st.none() | st.lists(FINITE, max_size=3).map(tuple)
JOBS = st.builds(
    Job,
    candidate=PATHS,
    formats=st.lists(st.text()).map(tuple),
    declared=st.builds(
        Declared,
        num_classes=st.none() | st.integers(1, 1000),
        shape=st.none() | st.tuples(*[st.integers(1, 64)] * 3),
        low=FINITE,
        high=FINITE,
        mean=FLOATS,
        std=FLOATS,
    ),
    signature=st.none() | st.builds(Signature, st.none() | TENSORS, st.none() | TENSORS),
    architecture=st.none()
    | st.builds(
        Architecture,
        target=st.text(),
        search_path=st.none() | PATHS,
        kwargs=st.lists(st.tuples(st.text(), VALUES), max_size=3).map(tuple),
        digest=st.text(),
    ),
    data=st.none() | PATHS,
    max_images=st.integers(1, 10_000) | st.none(),
    detectors=st.lists(
        st.builds(
            DetectorPlan,
            name=st.text(),
            required=st.booleans(),
            settings=st.dictionaries(st.text(), VALUES, max_size=3),
        ),
        max_size=3,
    ).map(tuple),
    device=st.sampled_from(["auto", "cpu", "cuda"]),
    seed=st.integers(0, 2**63),
    limits=st.builds(Limits, seconds=FINITE, memory=st.integers(0, 2**60)),
    weights_in=st.none() | st.text(),
)


@given(JOBS)
def test_a_job_arrives_as_it_was_sent(job: Job) -> None:
    assert orders.decode(orders.encode(job, 12.5)) == (job, 12.5, Task.SCAN)
    assert orders.decode(orders.encode(job, 12.5, Task.DIAGNOSIS))[2] is Task.DIAGNOSIS


@given(st.lists(st.builds(Grant, PATHS, st.sampled_from(Access))), st.none() | st.integers(0, 2**31))
def test_a_confinement_arrives_as_it_was_sent(grants: list[Grant], user: int | None) -> None:
    order = Confinement("0" * 32, Path("/s"), Path("/c"), 7, user, gpu=False, memory=9, processes=0, grants=(*grants,))
    line = confinement.encode(order)
    assert line.count(b"\n") == 1
    assert confinement.decode(line) == order


@pytest.mark.parametrize("value", [float("nan"), float("inf"), date(2026, 1, 1), {1, 2}, b"x"])
def test_an_argument_outside_json_is_the_policys_fault(tmp_path: Path, value: object) -> None:
    job = make_job(tmp_path)
    job = replace(job, architecture=Architecture("a:b", None, (("x", value),), "sha256:0"))
    with pytest.raises(UsageError, match="architecture_kwargs"):
        orders.encode(job, 1.0)
