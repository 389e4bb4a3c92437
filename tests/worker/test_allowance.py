"""Results of models with many classes: all that an honest scan may tell is heard, and no more is taken than that."""

from __future__ import annotations

import os
import random
import struct
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from worker_records import NONCE, make_job, make_scan, same_scan

from backdoor_gate.catalogue import DETECTORS, MOST_UNDECLARED, DetectorPlan
from backdoor_gate.errors import UnmeasuredError, WorkerError
from backdoor_gate.records import Declared, Job, Measured, Scan
from backdoor_gate.trigger_facts import Confirmation, Control, Means, Pair, Screening
from backdoor_gate.worker import allowance, messages, wire
from backdoor_gate.worker.listener import Listener
from backdoor_gate.worker.lockdown import Lockdown
from backdoor_gate.worker.tiers import Isolation

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGENET_21K, MOST = 21_841, 100_000
LONG = -2.2250738585072014e-308
"""A number with as many characters as any has."""
WORDS = "losing 50% of the pixels, and then some more"
TRIED = {"corruption_probe", "tone_probe", "patch_sweep", "wave_sweep", "stripe_sweep"}
"""Detectors that say of each class what moves images to it."""
ISOLATION = Isolation("B", (), ())


def job_of(classes: int | None, searched: int = 100) -> Job:
    """Return an order of every detector; `searched` stands for its `classes` or `sources`."""
    plans = tuple(DetectorPlan(spec.name, spec.required, spec.defaults()) for spec in DETECTORS)
    for plan in plans:
        plan.settings.update({key: searched for key in ("classes", "sources") if key in plan.settings})
    declared = Declared(num_classes=classes, shape=(1, 4, 5), mean=(0.5,), std=(0.25,))
    return replace(make_job(Path("/jobs")), declared=declared, detectors=plans)


def scan_of(job: Job, classes: int, values: Callable[[], float]) -> Scan:
    """Return what scans of so many classes tell, whose values are all alike in length."""
    made = tuple(measured(plan, classes, values) for plan in job.detectors)
    return replace(make_scan(), num_classes=classes, evidence=made)


def measured(plan: DetectorPlan, classes: int, values: Callable[[], float]) -> Measured:
    every = range(classes)
    if not {"classes", "sources"} & plan.settings.keys():
        success = tuple(abs(values()) for _ in every) if plan.name in TRIED else None
        means = tuple(Means(WORDS, None) for _ in every) if success else ()
        return Measured(plan.name, tuple(values() for _ in every), success, bool(success), means=means, side=4)
    most = min(classes, plan.settings.get("classes", plan.settings.get("sources")))
    kept = set(random.Random(0).sample(every, most))
    left_out = tuple(k for k in every if k not in kept)
    if "sources" in plan.settings:
        blank: tuple[float | None, ...] = (None,) * classes
        ways = [(source, (source + step) % classes) for source in sorted(kept) for step in range(1, 10)]
        return Measured(
            plan.name,
            blank,
            blank,
            True,
            pairs=tuple(Pair(*way, abs(values()), abs(values()), values()) for way in ways),
            confirmations=tuple(Confirmation(*way, abs(values()), abs(values()), values()) for way in ways[::9]),
            controls=tuple(Control(*way, abs(values())) for way in ways[::5]),
            screening=Screening(left_out, ()) if left_out else None,
            side=4,
        )
    again = sorted(kept)[::9]
    column = tuple(abs(values()) if k in kept else None for k in every)
    return Measured(
        plan.name,
        column,
        column,
        True,
        confirmations=tuple(Confirmation(None, k, abs(values()), abs(values()), values()) for k in again),
        controls=tuple(Control(None, k, abs(values())) for k in sorted(kept)),
        screening=Screening(left_out, tuple(sorted(kept))[: most // 4]) if left_out else None,
        side=4,
    )


def sent(*sends: Callable[[int], object]) -> bytes:
    """Return what messages of any size look like on the channel."""
    receiver, sender = os.pipe()

    def send() -> None:
        with os.fdopen(sender, "wb"):
            for each in sends:
                each(sender)

    writer = threading.Thread(target=send)
    writer.start()
    with os.fdopen(receiver, "rb") as pipe:
        data = pipe.read()
    writer.join()
    return data


def heard(job: Job, *sends: Callable[[int], object]) -> Scan:
    listener = Listener(job, NONCE, lambda _: ISOLATION, lambda _: None)
    locked = Lockdown(1, 7, {})
    listener.hear(sent(lambda fd: messages.send_lockdown(fd, NONCE, locked, {}), *sends))
    return listener.outcome()


@pytest.mark.parametrize("classes", [10_000, IMAGENET_21K])
def test_a_scan_of_very_many_classes_is_heard(classes: int) -> None:
    chance = random.Random(0)
    job = job_of(classes)
    scan = scan_of(job, classes, chance.random)
    told = heard(job, lambda fd: messages.send_scan(fd, NONCE, scan, allowance.result_bytes(job)))
    assert same_scan(told, replace(scan, runtime=told.runtime))


@pytest.mark.parametrize(("classes", "searched"), [(MOST, 100), (MOST, 1_000), (IMAGENET_21K, 100), (2_000, 2_000)])
def test_the_longest_that_a_scan_can_tell_is_within_the_allowance(classes: int, searched: int) -> None:
    # Measured on a twentieth of the classes, as what is said of each is alike in length.
    few = max(100, classes // 20)
    job = job_of(few, min(searched, few))
    scan = scan_of(job, few, lambda: LONG)
    size = sum(len(messages.dump(messages._evidence_document(each, ()))) for each in scan.evidence)
    digits = len(scan.evidence) * 2 * few  # a class of more may take two characters more
    assert size + digits < allowance.result_bytes(job) - wire.MAX_RESULT_BYTES


def test_the_allowance_is_small_where_there_are_few_classes() -> None:
    assert allowance.result_bytes(job_of(10)) < wire.MAX_RESULT_BYTES + (72 << 10)
    assert allowance.result_bytes(job_of(MOST)) < 96 << 20
    assert allowance.result_bytes(job_of(None)) == allowance.result_bytes(job_of(MOST_UNDECLARED)) < 20 << 20


def test_the_documents_name_the_number_above_which_classes_must_be_declared() -> None:
    documents = Path(__file__).parents[2] / "docs"
    stated = f"must be stated where the data lacks the last classes, and above {MOST_UNDECLARED}."
    assert stated in (documents / "policy.md").read_text(encoding="utf-8")
    assert f"more than {MOST_UNDECLARED} classes" in (documents / "detectors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("classes", [3, IMAGENET_21K])
def test_no_more_is_taken_than_that(classes: int) -> None:
    job = job_of(classes)
    most = allowance.result_bytes(job)

    def announce(size: int) -> Callable[[int], object]:
        return lambda fd: os.write(fd, struct.pack(">cI", wire.RESULT, size))

    with pytest.raises(WorkerError, match="message larger than allowed"):
        heard(job, announce(most + 1))
    with pytest.raises(WorkerError, match="cut off"):
        heard(job, announce(most))


def test_before_the_job_a_result_is_small() -> None:
    listener = Listener(job_of(MOST), NONCE, lambda _: ISOLATION, lambda _: None)
    with pytest.raises(WorkerError, match="message larger than allowed"):
        listener.hear(struct.pack(">cI", wire.RESULT, wire.MAX_RESULT_BYTES + 1))


def test_a_child_does_not_send_what_would_not_be_taken() -> None:
    receiver, sender = os.pipe()
    with os.fdopen(receiver, "rb") as pipe:
        with (
            os.fdopen(sender, "wb"),
            pytest.raises(UnmeasuredError, match=r"a result of \d+ bytes, of which 1000 can be told"),
        ):
            messages.send_scan(sender, NONCE, make_scan(), 1000)
        assert not pipe.read()


def test_very_many_classes_must_be_declared() -> None:
    job = replace(job_of(None), detectors=(DetectorPlan("final_layer", False, {}),))
    for classes, told in ((MOST_UNDECLARED, True), (MOST_UNDECLARED + 1, False)):
        scan = replace(make_scan(), num_classes=classes, evidence=(Measured("final_layer", (0.5,) * classes),))

        def send(fd: int, scan: Scan = scan) -> None:
            messages.send_scan(fd, NONCE, scan)

        if told:
            assert heard(job, send).num_classes == classes
        else:
            with pytest.raises(WorkerError, match="more classes than may go undeclared"):
                heard(job, send)
