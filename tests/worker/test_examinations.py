"""Answers to other tasks than a scan: across the channel unchanged, and held against the job."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from worker_records import NONCE, make_job, make_scan

from backdoor_gate.errors import WorkerError
from backdoor_gate.examination import Diagnosis, Fault, Inspection, Machine, Preparation, Task, Trial
from backdoor_gate.records import InputSpec
from backdoor_gate.worker import answers, messages
from backdoor_gate.worker.listener import Listener
from backdoor_gate.worker.lockdown import Lockdown
from backdoor_gate.worker.tiers import Isolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.examination import Examination

JOB = make_job(Path("/jobs"))
ISOLATION = Isolation("B", (), ())
SPEC = InputSpec((1, 4, 5), 0.0, 1.0, (0.5,), (0.25,))
PRESENT = Preparation(0.0, 1.0, (0.5,), (0.25,))
DIAGNOSIS = Diagnosis(
    "safetensors", 3, SPEC, 4, 9, True, 0.0, 255.0, (0, 1, 2, 0),
    (Trial(PRESENT, (0, 1, 2, 1), (0.5, 0.25, 0.0, 3.0)), Trial(Preparation(0.0, 255.0), ())),
    (1.5, 2.0, 0.0, 3.0), (0.5, None), False, Fault("sums cancel", "train it again"),
)  # fmt: skip
GOOD = {
    Task.MACHINE: Machine("2.13.0", "cpu"),
    Task.INSPECTION: Inspection("pt2", True, None, (3, 8, 8), 10),
    Task.DIAGNOSIS: DIAGNOSIS,
}


def written(send: Callable[[int], None]) -> bytes:
    receiver, sender = os.pipe()
    send(sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        return pipe.read()


def heard(task: Task, data: bytes) -> Examination:
    listener = Listener(JOB, NONCE, lambda _: ISOLATION, lambda _: None, task)
    listener.hear(written(lambda fd: messages.send_lockdown(fd, NONCE, Lockdown(1, 7, {}), {})))
    listener.hear(data)
    found, isolation = listener.examined()
    assert isolation is ISOLATION
    return found


def answer(examination: Examination) -> bytes:
    return written(lambda fd: answers.send_examination(fd, NONCE, examination))


@pytest.mark.parametrize("task", GOOD)
def test_an_answer_arrives_as_it_was_sent(task: Task) -> None:
    assert heard(task, answer(GOOD[task])) == GOOD[task]


@pytest.mark.parametrize("task", GOOD)
def test_an_answer_to_another_task_is_refused(task: Task) -> None:
    other = Task.MACHINE if task is not Task.MACHINE else Task.INSPECTION
    for wrong in (answer(GOOD[other]), written(lambda fd: messages.send_scan(fd, NONCE, make_scan()))):
        with pytest.raises(WorkerError, match="answer to another task"):
            heard(task, wrong)


def test_a_scan_is_not_answered_by_an_examination() -> None:
    with pytest.raises(WorkerError, match="answer to another task"):
        heard(Task.SCAN, answer(DIAGNOSIS))


def changed(**changes: Any) -> Diagnosis:
    return replace(DIAGNOSIS, **changes)


@pytest.mark.parametrize(
    ("diagnosis", "rule"),
    [
        (changed(format="pickle"), "format that the policy does not list"),
        (changed(num_classes=4), "class count is not the policy's"),
        (changed(lowest=256.0), "range is empty"),
        (changed(trials=(Trial(Preparation(0.0, 1.0, (0.5, 0.5), (1.0, 1.0)), (0, 1, 2, 1)),)), "normalisation per"),
        (changed(available=3), "more images than there are"),
        (changed(labels=(0, 1, 2)), "not one label per image"),
        (changed(labels=(0, 1, 2, 3)), "label of no class"),
        (changed(trials=(Trial(PRESENT, (0, 1, 2, 1, 1)),)), "more images tried"),
        (changed(trials=(Trial(PRESENT, (0, 1, 2)), Trial(PRESENT, (0, 1)))), "not one prediction per image"),
        (changed(trials=(Trial(PRESENT, (0, 1, 2, 3)),)), "prediction of no class"),
        (changed(trials=(Trial(PRESENT, (0, 1, 2, 1), (0.5,)),)), "not one loss per image"),
        (changed(labels=None), "losses without labels"),
    ],
)
def test_a_diagnosis_that_contradicts_itself_or_the_job_is_refused(diagnosis: Diagnosis, rule: str) -> None:
    with pytest.raises(WorkerError, match=f"^malformed result: {rule}"):
        heard(Task.DIAGNOSIS, answer(diagnosis))


def test_numbers_that_are_none_are_refused() -> None:
    document = {**asdict(DIAGNOSIS), "kind": "diagnosis", "margins": [float("nan")]}
    payload = json.dumps({"nonce": NONCE, "scan": None, "failure": None, "examination": document}).encode()
    with pytest.raises(WorkerError, match=r"^malformed result"):
        heard(Task.DIAGNOSIS, struct.pack(">cI", b"R", len(payload)) + payload)


def test_texts_are_made_safe_to_show() -> None:
    found = heard(Task.MACHINE, answer(Machine("2.13\x1b[0m", "cpu")))
    assert found == Machine("2.13\\x1b[0m", "cpu")
