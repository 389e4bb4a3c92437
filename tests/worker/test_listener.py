"""Conversations, good and bad, without a process."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_records import NONCE, make_job, make_scan, same_scan

from backdoor_gate import errors
from backdoor_gate.catalogue import DETECTORS, DetectorPlan
from backdoor_gate.errors import GateError, RefusedError, UnmeasuredError, UsageError, WorkerError
from backdoor_gate.illustrations import Artefact
from backdoor_gate.records import DataFacts, Declared, InputSpec, Job, Measured, NotApplicable, Progress, Scan
from backdoor_gate.trigger_facts import Confirmation, Control, Means, Pair, Screening
from backdoor_gate.worker import messages, schema
from backdoor_gate.worker.listener import Listener
from backdoor_gate.worker.lockdown import Lockdown
from backdoor_gate.worker.tiers import Isolation

JOB = make_job(Path("/jobs"))
STEP = Progress(0, 1, 10, (0, 2), 3.5)
ISOLATION = Isolation("B", ("no bubblewrap",), ("Landlock 7", "no bubblewrap"))


def written(*sends: Callable[[int], None]) -> bytes:
    """Return what some messages look like on the channel."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    for send in sends:
        send(sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        return pipe.read()


def scan_bytes(scan: Scan | None = None) -> bytes:
    return written(lambda fd: messages.send_scan(fd, NONCE, scan or make_scan()))


def failure_bytes(error: GateError) -> bytes:
    return written(lambda fd: messages.send_failure(fd, NONCE, error))


def progress_bytes(progress: Progress = STEP) -> bytes:
    return written(lambda fd: messages.send_progress(fd, NONCE, progress))


def lockdown_bytes(nonce: str = NONCE) -> bytes:
    return written(lambda fd: messages.send_lockdown(fd, nonce, Lockdown(1, 7, {"user": "EPERM"}), {"TCP": "EPERM"}))


def hear(
    data: bytes,
    job: Job = JOB,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    before: bytes = lockdown_bytes(),
) -> Scan:
    listener = Listener(job, NONCE, lambda _: ISOLATION, on_progress)
    data = before + data
    for at in range(0, len(data), 100):
        listener.hear(data[at : at + 100])
    return listener.outcome()


def frame(document: object, kind: bytes = b"R") -> bytes:
    payload = json.dumps(document).encode()
    return struct.pack(">cI", kind, len(payload)) + payload


def result_document() -> dict[str, Any]:
    """Return the good result's document, without its arrays."""
    data = scan_bytes()
    size = struct.unpack_from(">cI", data)[1]
    document: dict[str, Any] = json.loads(data[5 : 5 + size])
    document["scan"]["evidence"][2]["artefacts"] = []
    return document


# ---------------------------------------------------------------------------------------------------- good ones


def test_a_scan_arrives_as_it_was_sent() -> None:
    heard: list[Progress] = []
    scan = hear(progress_bytes() + scan_bytes(), on_progress=heard.append)
    assert same_scan(scan, make_scan())
    assert heard == [STEP]


def test_isolation_and_seed_are_the_parents_word() -> None:
    claimed = replace(make_scan().runtime, isolation="A", seed=99)
    scan = hear(scan_bytes(replace(make_scan(), runtime=claimed)))
    assert (scan.runtime.isolation, scan.runtime.seed) == ("B", JOB.seed)
    assert scan.runtime.isolation_notes == ISOLATION.notes


VALUE = st.none() | st.floats(allow_nan=False, allow_infinity=False)
SHARE = st.none() | st.floats(0, 1)
CONTROL = {"source": None, "target": 2, "strength": 0.01}
MEANS = {"words": "a patch", "source": None, "particular": False}
LOOK = {"source": None, "target": 2, "strength": 0.01, "success": 0.95, "likeness": 0.3}


@given(
    st.lists(VALUE, min_size=3, max_size=3),
    st.none() | st.lists(SHARE, min_size=3, max_size=3),
    st.binary(min_size=20, max_size=20),
)
def test_any_measurement_arrives_as_it_was_sent(
    values: list[float | None], success: list[float | None] | None, pixels: bytes
) -> None:
    scan = make_scan()
    array = np.frombuffer(pixels, dtype=np.uint8).reshape(1, 4, 5).astype(np.float32) / 255
    last = Measured(
        "neural_cleanse",
        tuple(values),
        None if success is None else tuple(success),
        artefacts=(Artefact("pattern", 0, array, source_class=2),),
        pairs=(Pair(2, 0, values[0] and abs(values[0]), None, 3.5), Pair(0, 1, None, 0.25, -1.0)),
        confirmations=() if success is None else (Confirmation(0, 1, None, success[0], -1.0),),
        controls=() if success is None else (Control(2, 0, None), Control(0, 1, 0.5)),
        means=(Means("losing 1% of the pixels", None), Means("a patch", 2, particular=True), Means("no patch", None)),
        side=4,
    )
    scan = replace(scan, evidence=(*scan.evidence[:2], last))
    assert same_scan(hear(scan_bytes(scan)), scan)


@pytest.mark.parametrize("family", [RefusedError, UsageError, UnmeasuredError, WorkerError])
def test_a_failure_arrives_as_the_same_error(family: type[GateError]) -> None:
    with pytest.raises(GateError) as caught:
        hear(failure_bytes(family("pt2: operator", where="model.pt2", hint="export again")))
    assert type(caught.value) is family
    assert str(caught.value) == "model.pt2: pt2: operator; export again"


@pytest.mark.parametrize("family", [errors.OutputError, errors.NotVerifiedError, errors.RegistryReadError])
def test_a_child_cannot_raise_errors_of_other_parts(family: type[GateError]) -> None:
    with pytest.raises(UnmeasuredError):
        hear(failure_bytes(family("no")))


def test_a_refusal_names_the_format_that_can_run_code() -> None:
    with pytest.raises(RefusedError) as caught:
        hear(failure_bytes(RefusedError("no", executable="pickle")))
    assert caught.value.executable == "pickle"


def test_a_failures_text_is_made_safe_on_the_parents_side() -> None:
    texts = {"what": "::set-output\x1b[2J", "where": "a\nb", "hint": "x" * 2000}
    document = {"nonce": NONCE, "scan": None, "failure": {"kind": "refused", **texts}}
    with pytest.raises(RefusedError) as caught:
        hear(frame(document))
    assert (caught.value.what, caught.value.where) == (r"\::set-output\x1b[2J", r"a\nb")
    assert len(caught.value.hint) == 500


def test_means_are_made_safe_on_the_parents_side() -> None:
    scan = make_scan()
    last = scan.evidence[2]
    assert isinstance(last, Measured)
    sent = replace(last, means=(Means("::set-output\x1b[2J", None),) * len(last.values))
    heard = hear(scan_bytes(replace(scan, evidence=(*scan.evidence[:2], sent)))).evidence[2]
    assert isinstance(heard, Measured)
    assert {means.words for means in heard.means} == {r"\::set-output\x1b[2J"}


def test_artefacts_beyond_a_detectors_share_are_left_out() -> None:
    many = tuple(Artefact("mask", 0, np.full((1, 4, 5), i, np.float32)) for i in range(schema.MAX_ARRAYS + 3))
    scan = make_scan()
    last = scan.evidence[2]
    assert isinstance(last, Measured)
    heard = hear(scan_bytes(replace(scan, evidence=(*scan.evidence[:2], replace(last, artefacts=many)))))
    assert isinstance(heard.evidence[2], Measured)
    assert [a.array[0, 0, 0] for a in heard.evidence[2].artefacts] == list(range(schema.MAX_ARRAYS))


# ----------------------------------------------------------------------------------------------------- bad ones

Change = Callable[[dict[str, Any]], object]


def at(*path: str | int, value: object) -> Change:
    """Return a change that puts `value` at a place of the result's document."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


COLUMNS = ("sources", "targets", "strengths", "success", "leads")


def columns(*rows: tuple[float, ...]) -> dict[str, list[float]]:
    """Return pairs as the worker sends them; a short row leaves its last columns empty."""
    return {name: [row[at] for row in rows if at < len(row)] for at, name in enumerate(COLUMNS)}


def looked_at_without_triggers(document: dict[str, Any]) -> None:
    document["scan"]["evidence"][2] |= {"success": None, "confirmations": [LOOK]}


def controlled_without_triggers(document: dict[str, Any]) -> None:
    document["scan"]["evidence"][2] |= {"success": None, "controls": [CONTROL]}


def controlled_without_labels(document: dict[str, Any]) -> None:
    document["scan"]["data"]["accuracy"] = None
    document["scan"]["evidence"][2]["controls"] = [CONTROL]


BARE = {"source_class": None, "example": 0, "prediction": None}
MASK = {"name": "mask", "class_index": 0, "shape": [1, 4, 5], **BARE}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (at("verdict", value="PASS"), "unknown key 'verdict'"),
        (at("scan", "verdict", value="PASS"), "unknown key 'scan.verdict'"),
        (at("scan", "peak_memory", value=1), "unknown key 'scan.peak_memory'"),
        (at("scan", "x\x1b", value=1), r"unknown key 'scan.x\x1b'"),
        (at("scan", "evidence", 2, "anomaly_index", value=0.1), "anomaly_index"),
        (lambda d: d["scan"].pop("data"), "missing key 'scan.data'"),
        (lambda d: d["scan"]["evidence"][1].pop("cost"), "missing key"),
        (at("nonce", value="0" * 16), "wrong nonce"),
        (at("scan", value=None), "neither a scan nor a failure"),
        (at("failure", value={"kind": "refused", "what": "x", "where": "", "hint": ""}), "or both"),
        (at("scan", "evidence", 2, "values", value=["0.5", None, 1.0]), "valid number"),
        (at("scan", "evidence", 2, "values", value=[True, None, 1.0]), "valid number"),
        (at("scan", "evidence", 2, "values", value=[1.0, 2.0]), "one value per class"),
        (at("scan", "evidence", 2, "values", value=[1.0] * 4), "one value per class"),
        (at("scan", "evidence", 2, "success", value=[1.0]), "one value per class"),
        (at("scan", "evidence", 2, "success", value=[1.1, 0.0, 0.0]), "less than or equal to 1"),
        (at("scan", "evidence", 2, "success", value=[-0.1, 0.0, 0.0]), "greater than or equal to 0"),
        (at("scan", "evidence", 2, "detector", value="warp_inversion"), "other detectors than ordered"),
        (at("scan", "evidence", 2, "kind", value="passed\x1b"), "kind"),
        (at("scan", "evidence", 2, "cost", "seconds", value=-1.0), "seconds"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK | {"class_index": 3}]), "artefact of no class"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK | {"source_class": 3}]), "artefact of no class"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK | {"shape": [3, 4, 5]}]), "artefact's shape"),
        (at("scan", "evidence", 2, "pairs", value=columns((0, 1))), "columns of unlike length"),
        (at("scan", "evidence", 2, "pairs", value=columns((0, 1, 0.1, 1.0, 2.0), (0, 3, 0.1, 1.0, 2.0))), "no classes"),
        (at("scan", "evidence", 2, "pairs", value=columns((1, 1, 0.1, 1.0, 2.0))), "no classes"),
        (at("scan", "evidence", 2, "pairs", value=columns(*[(0, 1, 0.1, 1.0, 2.0)] * 2)), "the same pair twice"),
        (at("scan", "evidence", 2, "pairs", value=columns((0, 1, -0.1, 1.0, 2.0))), "strengths"),
        (lambda d: d["scan"]["evidence"][2].pop("confirmations"), "missing key"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK | {"target": 3}]), "second look at no trigger"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK | {"source": 1}]), "second look at no trigger"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK, LOOK]), "twice at the same trigger"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK | {"strength": -0.1}]), "strength"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK | {"success": 1.1}]), "success"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK | {"likeness": -1.1}]), "likeness"),
        (at("scan", "evidence", 2, "confirmations", value=[LOOK | {"natural": True}]), "natural"),
        (lambda d: d["scan"]["evidence"][2].pop("controls"), "missing key"),
        (at("scan", "evidence", 2, "controls", value=[CONTROL | {"target": 3}]), "control of no trigger"),
        (at("scan", "evidence", 2, "controls", value=[CONTROL | {"source": 1}]), "control of no trigger"),
        (at("scan", "evidence", 2, "controls", value=[CONTROL, CONTROL]), "control twice of the same trigger"),
        (at("scan", "evidence", 2, "controls", value=[CONTROL | {"strength": -0.1}]), "strength"),
        (lambda d: d["scan"]["evidence"][2].pop("means"), "missing key"),
        (at("scan", "evidence", 2, "means", value=[MEANS] * 2), "means of no class"),
        (at("scan", "evidence", 2, "means", value=[MEANS | {"source": 3}] * 3), "means with images of no class"),
        (at("scan", "evidence", 2, "means", value=[MEANS | {"particular": True}] * 3), "particular to no class"),
        (at("scan", "evidence", 2, "means", value=[MEANS | {"words": "x" * 101}] * 3), "words"),
        (at("scan", "evidence", 2, "means", value=[MEANS | {"verdict": "PASS"}] * 3), "verdict"),
        (controlled_without_triggers, "control without triggers"),
        (controlled_without_labels, "control without labels"),
        (looked_at_without_triggers, "second look without triggers"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK | {"shape": [4, 5]}]), "shape"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK | {"name": "note"}]), "name"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK] * 65), "artefacts"),
        (at("scan", "evidence", 2, "artefacts", value=[MASK]), "cut off"),
        (at("scan", "evidence", value=[]), "other detectors than ordered"),
        (lambda d: d["scan"]["evidence"].reverse(), "other detectors than ordered"),
        (lambda d: d["scan"]["evidence"].append(d["scan"]["evidence"][0]), "other detectors than ordered"),
        (at("scan", "evidence", 0, "reason", value="x" * 2001), "reason"),
        (at("scan", "evidence", 0, "reason", value=""), "reason"),
        (at("scan", "evidence", 0, "by_candidate", value=False), "excused without a reason"),
        (at("scan", "num_classes", value=4), "class count"),
        (at("scan", "num_classes", value=0), "num_classes"),
        (at("scan", "input", "shape", value=[3, 4, 5]), "input shape"),
        (at("scan", "input", "high", value=0.0), "range is empty"),
        (at("scan", "input", "mean", value=[0.1, 0.2]), "per channel"),
        (at("scan", "input", "std", value=[0.0]), "std"),
        (at("scan", "format", value="pickle"), "format"),
        (at("scan", "data", "accuracy", value=2.0), "accuracy"),
        (at("scan", "data", "kind", value="synthetic"), "synthetic images in place of the clean ones"),
    ],
)
def test_a_result_out_of_line_is_malformed(change: Change, rule: str) -> None:
    document = copy.deepcopy(result_document())
    change(document)
    with pytest.raises(WorkerError) as caught:
        hear(frame(document))
    assert caught.value.what.startswith("malformed result: ")
    assert rule in caught.value.what
    assert caught.value.what.isprintable()


def test_clean_images_that_were_never_given_are_malformed() -> None:
    with pytest.raises(WorkerError, match="never given"):
        hear(scan_bytes(), replace(JOB, data=None))


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (DataFacts("synthetic", 120, None), "verified without clean images"),
        (DataFacts("synthetic", 120, 0.97), "accuracy on synthetic images"),
    ],
)
def test_synthetic_images_show_no_more_than_they_can(facts: DataFacts, rule: str) -> None:
    with pytest.raises(WorkerError, match=rule):
        hear(scan_bytes(replace(make_scan(), data=facts)), replace(JOB, data=None))


@pytest.mark.parametrize("classes", [2, 3, 5, 6])
@pytest.mark.parametrize("with_images", [True, False])
@pytest.mark.parametrize("detector", [spec.name for spec in DETECTORS])
def test_only_what_the_catalogue_says_excuses_a_detector(detector: str, with_images: bool, classes: int) -> None:
    job = replace(
        JOB, declared=replace(JOB.declared, num_classes=classes), detectors=(DetectorPlan(detector, True, {}),)
    )
    excuse = NotApplicable(detector, "it does not apply", by_candidate=False)
    scan = replace(make_scan(), num_classes=classes, evidence=(excuse,))
    if not with_images:
        job, scan = replace(job, data=None), replace(scan, data=DataFacts("synthetic", 40, None))
    data = scan_bytes(scan)
    pairs = detector.startswith("pair_") and classes == 2
    tried = {"corruption_probe", "tone_probe", "patch_sweep", "wave_sweep", "stripe_sweep"}
    few = detector in {"ground_inversion", *tried} - {"patch_sweep"} and classes < 6
    blind = detector in {"ground_inversion", *tried} and not with_images
    if pairs or few or blind:
        assert hear(data, job).evidence == (excuse,)
    else:
        with pytest.raises(WorkerError, match="excused without a reason"):
            hear(data, job)


@pytest.mark.parametrize("detector", [spec.name for spec in DETECTORS])
def test_images_in_colour_excuse_what_needs_an_empty_ground(detector: str) -> None:
    job = replace(JOB, declared=Declared(num_classes=6, shape=(3, 4, 5)), detectors=(DetectorPlan(detector, True, {}),))
    excuse = NotApplicable(detector, "it does not apply", by_candidate=False)
    scan = replace(make_scan(), num_classes=6, input=InputSpec((3, 4, 5)), evidence=(excuse,))
    if detector == "ground_inversion":
        assert hear(scan_bytes(scan), job).evidence == (excuse,)
    else:
        with pytest.raises(WorkerError, match="excused without a reason"):
            hear(scan_bytes(scan), job)


SCREENED = replace(
    make_scan(),
    num_classes=60,
    evidence=(
        Measured(
            "neural_cleanse",
            values=tuple(None if k >= 40 else 0.5 for k in range(60)),
            success=tuple(None if k >= 40 else 1.0 for k in range(60)),
            verified=True,
            screening=Screening(left_out=tuple(range(40, 60)), drawn=tuple(range(10))),
            side=4,
        ),
    ),
)


@pytest.mark.parametrize(
    ("classes", "left_out", "drawn", "rule"),
    [
        (40, range(40, 60), range(10), None),
        (60, range(40, 60), range(10), "left out of a detector that searches all"),
        (50, range(40, 60), range(10), "other classes left out than the policy says"),
        (40, range(40, 60), range(5), "too few classes drawn"),
        (40, range(40, 60), range(31, 41), "both drawn and left out"),
        (40, range(41, 61), range(10), "screening of no class"),
        (40, [*range(41, 60), 40], range(10), "out of order"),
        (40, range(30, 50), range(10), "value of a class that was left out"),
    ],
)
def test_no_class_is_left_out_but_by_the_policy(
    classes: int, left_out: Sequence[int], drawn: Sequence[int], rule: str | None
) -> None:
    plans = (DetectorPlan("neural_cleanse", True, {"steps": 80, "images": 8, "classes": classes}),)
    job = replace(JOB, declared=replace(JOB.declared, num_classes=60), detectors=plans)
    (evidence,) = SCREENED.evidence
    screening = Screening(left_out=tuple(left_out), drawn=tuple(drawn))
    scan = replace(SCREENED, evidence=(replace(evidence, screening=screening),))
    if rule is None:
        assert hear(scan_bytes(scan), job).evidence == scan.evidence
        return
    with pytest.raises(WorkerError, match=rule):
        hear(scan_bytes(scan), job)


def test_the_unchanged_document_is_fine() -> None:
    assert hear(frame(result_document())).num_classes == 3


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "no result"),
        (lockdown_bytes(), "out of turn"),
        (scan_bytes()[:-1], "cut off"),
        (scan_bytes()[:3], "cut off"),
        (scan_bytes() + b"x", "followed by more"),
        (scan_bytes() + scan_bytes(), "out of turn"),
        (scan_bytes() + progress_bytes(), "out of turn"),
        (frame({}, b"A"), "out of turn"),
        (frame({}, b"X"), "out of turn"),
        (frame([]), "dictionary"),
        (struct.pack(">cI", b"R", 100 << 20), "larger than allowed"),
        (struct.pack(">cI", b"P", 2000), "larger than allowed"),
        (struct.pack(">cI", b"R", 3) + b"nul", "not JSON"),
        (progress_bytes(replace(STEP, detector=3)), "progress of no detector"),
        (progress_bytes(replace(STEP, done=11)), "beyond the end"),
        (progress_bytes(replace(STEP, classes=(2, 1))), "out of order"),
        (frame({"nonce": NONCE}, b"P"), "missing key 'detector'"),
    ],
)
def test_a_conversation_out_of_line_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(WorkerError, match=rule):
        hear(data)


@pytest.mark.parametrize(
    ("before", "rule"),
    [
        (b"", "scan before the job"),
        (progress_bytes(), "out of turn"),
        (lockdown_bytes("0" * 16), "wrong nonce"),
        (lockdown_bytes() + lockdown_bytes(), "out of turn"),
        (frame({"nonce": NONCE, "threads": 1}, b"L"), "missing key"),
        (
            frame({"nonce": NONCE, "threads": 1, "landlock": 1, "faults": {}, "attempts": {"x": "\x1b"}}, b"L"),
            "attempts",
        ),
        (frame({"nonce": NONCE, "threads": 1, "landlock": 1, "faults": {"x": "y"}, "attempts": {}}, b"L"), "faults"),
        (struct.pack(">cI", b"L", 5000), "larger than allowed"),
    ],
)
def test_nothing_is_heard_before_the_lock_down(before: bytes, rule: str) -> None:
    with pytest.raises(WorkerError, match=rule):
        hear(scan_bytes(), before=before)


def test_a_failure_may_come_before_the_lock_down() -> None:
    with pytest.raises(WorkerError, match="out of memory"):
        hear(failure_bytes(WorkerError("out of memory")), before=b"")


def test_an_isolation_that_will_not_do_ends_the_conversation() -> None:
    def refuse(_: schema.LockdownDocument) -> Isolation:
        raise UnmeasuredError("sandbox unavailable")

    listener = Listener(JOB, NONCE, refuse, lambda _: None)
    with pytest.raises(UnmeasuredError, match="sandbox unavailable"):
        listener.hear(lockdown_bytes())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_are_finite(value: float) -> None:
    data = scan_bytes()
    with pytest.raises(WorkerError, match="malformed result: array"):
        hear(data[:-4] + struct.pack("<f", value))


def test_an_array_of_another_length_is_refused() -> None:
    data = scan_bytes()
    short = data[: -(5 + 80)] + struct.pack(">cI", b"A", 76) + bytes(76)
    with pytest.raises(WorkerError, match="shorter than its shape"):
        hear(short)
    with pytest.raises(WorkerError, match="larger than allowed"):
        hear(data[: -(5 + 80)] + struct.pack(">cI", b"A", 84) + bytes(84))


def test_progress_has_an_end() -> None:
    job = replace(JOB, limits=replace(JOB.limits, seconds=1.0))
    with pytest.raises(WorkerError, match="too many progress messages"):
        hear(progress_bytes() * 1021, job)
    with pytest.raises(WorkerError, match="no result"):
        hear(progress_bytes() * 1020, job)


def test_a_child_checks_what_it_sends() -> None:
    scan = make_scan()
    last = Measured("neural_cleanse", (float("nan"), 1.0, 1.0))
    with pytest.raises(ValueError, match="finite"):
        scan_bytes(replace(scan, evidence=(*scan.evidence[:2], last)))


GOOD = lockdown_bytes() + progress_bytes() + scan_bytes()


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_mutation_raises_anything_but_a_worker_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    try:
        scan = hear(bytes(data), before=b"")
    except WorkerError:
        return
    assert scan.num_classes == 3


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=12))
def test_no_cut_raises_anything_but_a_worker_error(start: int, end: int, filling: bytes) -> None:
    data = GOOD[:start] + filling + GOOD[end:]
    try:
        scan = hear(data, before=b"")
    except WorkerError:
        return
    assert scan.num_classes == 3


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
DOCUMENTS = st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8)
SCAN_KEYS = sorted(result_document()["scan"])


@given(st.sampled_from(SCAN_KEYS), DOCUMENTS)
def test_no_value_raises_anything_but_a_worker_error(key: str, value: object) -> None:
    document = result_document()
    document["scan"][key] = value
    with contextlib.suppress(WorkerError):
        assert hear(frame(document)).num_classes == 3
