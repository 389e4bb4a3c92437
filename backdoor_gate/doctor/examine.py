"""Puts the questions: source → locked worker → findings. Whatever fails on the way is a finding, too."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backdoor_gate.doctor.finding import Finding, failure, note, ok
from backdoor_gate.doctor.images import also, compared, image_findings
from backdoor_gate.doctor.outputs import output_findings
from backdoor_gate.doctor.readings import plain
from backdoor_gate.errors import GateError
from backdoor_gate.examination import Diagnosis, Inspection, Task
from backdoor_gate.orders import given_for, job_for, no_room, private_copy, private_folder
from backdoor_gate.sources.mlmodel import pickled_error
from backdoor_gate.worker import launch
from backdoor_gate.worker.attempts import as_data_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.doctor.readings import Reading
    from backdoor_gate.examination import Examination, Preparation
    from backdoor_gate.orders import Request
    from backdoor_gate.records import Job
    from backdoor_gate.sources.interface import Source


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found out about one candidate.

    Attributes:
        findings: in the order in which they are best mended.
        readings: accuracy under every preparation that was tried, the present one first; empty without labels.
        best: the preparation that is better than the present one; None where none is.
        also: what would do about as well as the best; empty where nothing would.
        order: the model's class by label, where another order of the classes is better; empty where none is.
    """

    findings: tuple[Finding, ...]
    readings: tuple[Reading, ...] = ()
    best: Preparation | None = None
    also: str = ""
    order: Mapping[int, int] = field(default_factory=dict)


def examine_model(request: Request, source: Source) -> Examined:
    """Find out how a candidate takes its clean images."""
    name = request.reference
    try:
        with ordered(request, source) as (reference, job):
            name = reference.name
            diagnosis, exposed = ask(job, Task.DIAGNOSIS, request, name)
    except GateError as error:
        request.policy.locate(error, name)
        return Examined((failure("model", error),))
    assert isinstance(diagnosis, Diagnosis)
    return _judged(diagnosis, request, name, exposed=exposed)


def inspect_model(request: Request, source: Source) -> tuple[Inspection, Job]:
    """Return what a candidate's bytes say of it, and the job that asked.

    Raises:
        GateError: it cannot be had, or its bytes are not acceptable.
    """
    with ordered(request, source) as (reference, job):
        inspection, _ = ask(job, Task.INSPECTION, request, reference.name)
        assert isinstance(inspection, Inspection)
        return inspection, job


@contextmanager
def ordered(request: Request, source: Source) -> Iterator[tuple[Reference, Job]]:
    """Bring candidate, code and data together, as a scan does; the copies live as long as the block.

    Raises:
        GateError: as the audit of the same request.
    """
    try:
        with private_folder() as folder:
            reference = source.resolve(request.reference)
            given = given_for(request, source, reference, folder)
            candidate = private_copy(source, reference, folder)
            if candidate.pickled and not given.plan.unsafe_formats:
                raise pickled_error()
            yield reference, job_for(request, given, candidate)
    except OSError as error:
        raise no_room(error) from error


def ask(job: Job, task: Task, request: Request, name: str) -> tuple[Examination, bool]:
    """Return the locked worker's answer to one task, and whether the candidate's code could run."""

    def examine(job: Job, minimum: str) -> Examination:
        return launch.examine(job, task, minimum=minimum)[0]

    policy = request.policy
    return as_data_first(job, policy.plan_for(name).unsafe_formats, policy.minimum_isolation, examine)


def _judged(diagnosis: Diagnosis, request: Request, name: str, *, exposed: bool) -> Examined:
    policy = request.policy

    def place(key: str) -> str:
        given = request.data is not None and key == "data.clean"
        return "--data" if given else f"{policy.place(key, name)}: {key}"

    shape = ", ".join(map(str, diagnosis.input.shape))
    facts = ok("model", f"{diagnosis.format}, {diagnosis.num_classes} classes, images of [{shape}]")
    readings = compared(diagnosis)
    better = readings.best if readings and readings.best is not readings.present else None
    told = (_unattested(diagnosis.format, place("model.unsafe_formats")),) if exposed else ()
    images = image_findings(diagnosis, policy.judgement.max_unmeasured, place)
    outputs = output_findings(diagnosis, explained=better is not None)
    best = better.preparation if better and better.preparation != diagnosis.trials[0].preparation else None
    findings = (facts, *told, *images, *outputs)
    if readings is None:
        return Examined(findings)
    return Examined(findings, plain(diagnosis), best, also(readings), readings.best.order)


def _unattested(name: str, place: str) -> Finding:
    what = f"a {name} candidate can run code: a scan of it can block it, but never ends in PASS"
    return note("unattested", what, place, "register it with safetensors weights or as pt2")
