"""One scan from beginning to end, inside the worker: load, prepare, run the detectors side by side within the time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import torch

from backdoor_gate.catalogue import BY_NAME, MOST_UNDECLARED
from backdoor_gate.errors import UnmeasuredError, UsageError
from backdoor_gate.records import (
    DataFacts,
    Evidence,
    Inconclusive,
    Job,
    Measured,
    NotApplicable,
    Progress,
    Runtime,
    Scan,
)
from backdoor_gate.scan import control, embedding, loading, noise
from backdoor_gate.scan.clock import Clock, work
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.data.clean import CleanImages, load_clean
from backdoor_gate.scan.data.contract import agree, shape_of
from backdoor_gate.scan.data.synthetic import synthetic
from backdoor_gate.scan.detectors import DETECTORS, Detector
from backdoor_gate.scan.detectors.interface import Context, Weakest
from backdoor_gate.scan.finite import is_finite
from backdoor_gate.scan.machine import choose_device, deadline_of, device_name, free_for_activations
from backdoor_gate.scan.network import precision
from backdoor_gate.scan.network.passes import predict
from backdoor_gate.scan.network.rounding import check_rounding
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.streams import in_streams, streams_of
from backdoor_gate.scan.triggers.images import Images

if TYPE_CHECKING:
    from backdoor_gate.illustrations import Embedding
    from backdoor_gate.scan.data.probes import Probes

EMBEDDED_SUCCESS = 0.5
"""Share of held-out images that a trigger must move to be worth a look at what it does within the network."""

FAILURES = (UnmeasuredError, ArithmeticError, IndexError, ValueError, RuntimeError)
"""What torch and a network raise, and what is raised when the time is over."""

OnProgress = Callable[[Progress], None]


def get_ready() -> None:
    """Do what a worker may not do any more once it has locked itself down, and what is best done before it works."""
    precision.ask_for_instructions()
    precision.keep_float32()
    gc.freeze()  # what was imported is never garbage, and there is far more of it than a search makes


def measure(job: Job, on_progress: OnProgress) -> Scan:
    """Run one scan.

    Raises:
        RefusedError: the candidate's bytes are not acceptable.
        UsageError: the clean data, the policy's architecture or its declarations are wrong.
        UnmeasuredError: the model cannot be measured at all.
    """
    deadline = deadline_of(job.limits)
    torch.manual_seed(job.seed)
    device = choose_device(job.device)
    clean = None
    if job.data is not None:
        clean = load_clean(job.data, job.declared, max_images=job.max_images, seed=job.seed)
    spec, num_classes = agree(job.declared, shape_of(clean), job.signature)
    model = loading.load(job.candidate, job.formats, job.architecture, num_classes, job.weights_in)
    subject = Subject(model, spec, num_classes, device, deadline)
    require_declared(job, subject.num_classes)
    images, facts = prepare(subject, clean, job.seed)
    runtime = Runtime(torch.__version__, device_name(device), isolation="", seed=job.seed)
    if facts.is_guessing(subject.num_classes):  # nothing that could be found on other images says anything
        unmeasured = tuple(
            Inconclusive(plan.name, "not run: the clean data does not fit the model") for plan in job.detectors
        )
        return Scan(subject.num_classes, spec, model.format, facts, unmeasured, runtime)
    check_rounding(subject.counted_apart(), images.held_out.images)
    subject.recheck_ways(images.held_out.images)
    triggers: dict[str, Weakest] = {}
    evidence = run_detectors(job, subject, images, on_progress, triggers.__setitem__)
    shown = embed_weakest(subject, images, triggers)
    return Scan(subject.num_classes, spec, model.format, facts, evidence, runtime, embedding=shown)


def require_declared(job: Job, num_classes: int) -> None:
    """Refuse very many classes of which the policy does not speak: their measurements could not be told.

    Raises:
        UnmeasuredError: there are more of them than may go undeclared.
    """
    if job.declared.num_classes is None and num_classes > MOST_UNDECLARED:
        raise UnmeasuredError(
            f"{num_classes} classes, and the policy does not say how many, as it must above {MOST_UNDECLARED}",
            where="model.num_classes",
            hint="state their number in the policy",
        )


def prepare(subject: Subject, clean: CleanImages | None, seed: int) -> tuple[Probes, DataFacts]:
    """Split the clean images, or make synthetic ones; measure the accuracy where there are labels."""
    if clean is None:
        made = synthetic(subject, seed)
        return made, DataFacts("synthetic", len(made), None)
    images = clean.images.to(subject.device)
    predicted = predict(subject, images)
    labels = predicted if clean.labels is None else clean.labels.to(subject.device)
    accuracy = None if clean.labels is None else float((predicted == labels).float().mean())
    split = probes.from_clean(Images(images, labels), seed, labelled=clean.labels is not None)
    if min(len(split.optimise), len(split.held_out)) < 2:
        raise UsageError(
            f"{len(images)} clean images are too few to hold half of them out",
            where="data.clean",
            hint="give at least 10 per class; 500 in all are plenty",
        )
    return split, DataFacts("clean", len(images), accuracy)


def run_detectors(
    job: Job,
    subject: Subject,
    images: Probes,
    on_progress: OnProgress,
    keep: Callable[[str, Weakest], None] = lambda *_: None,
) -> tuple[Evidence, ...]:
    """Run every detector of the job; a failure of one is evidence, and the others still run.

    There is one at a time on each core, see `scan.streams`, beside the training of the control, which is begun first.

    Args:
        job: what to run.
        subject: the network.
        images: the probes.
        on_progress: called as the detectors move on.
        keep: takes the name of a detector and the weakest trigger that it found.
    """
    by_name = {detector.name: detector for detector in DETECTORS}
    subjects, streams = side_by_side(subject, len(job.detectors))
    activation_bytes = free_for_activations(job.limits.memory, subject.device) // streams
    of_noise, unknown = noise_classes(subject, images, job.seed)
    with in_streams(streams) as pool:
        wanted = any(by_name[plan.name].controlled for plan in job.detectors)
        trained = pool.submit(control_of, subject, images, job.seed) if wanted else None
        pairs = [
            (
                by_name[plan.name],
                Context(
                    subject=own,
                    probes=images,
                    settings=plan.settings,
                    seed=job.seed,
                    activation_bytes=activation_bytes,
                    keep=partial(keep, plan.name),
                    noise_classes=of_noise,
                    control=None if trained is None else trained.result,
                ),
            )
            for plan, own in zip(job.detectors, subjects, strict=True)
        ]
        planned = sum(_planned(*each) for each in pairs) + embedding.planned_passes(images.held_out)
        together = _Together(pairs, Clock(planned, streams), on_progress, unknown)
        running = {each[0].name: pool.submit(together.run, *each) for each in sorted(pairs, key=_turn)}
        return tuple(running[plan.name].result() for plan in job.detectors)


class _Together:
    """Detectors that run side by side, and how far all of them have come.

    Args:
        pairs: the detectors in the order of the job, each with its context, which is made to report here.
        clock: tells the time that all of them will take.
        on_progress: called as one of them moves on, by one thread at a time.
        unknown: why those that put images through the network are not to run; empty where they are.
    """

    def __init__(
        self, pairs: Sequence[tuple[Detector, Context]], clock: Clock, on_progress: OnProgress, unknown: str
    ) -> None:
        self._unknown = unknown
        self._subjects = [context.subject for _, context in pairs]
        self._clock, self._on_progress = clock, on_progress
        self._telling = Lock()
        for position, (_, context) in enumerate(pairs):
            context.report = partial(self._tell, position)

    def run(self, detector: Detector, context: Context) -> Evidence:
        """Run one of them on the clock."""
        if self._unknown and detector.planned_passes(context):
            return Inconclusive(detector.name, self._unknown)
        with self._clock.running(detector.name):
            return run_one(detector, context)

    def _tell(self, position: int, done: int, total: int, first: int, last: int) -> None:
        with self._telling:
            left = self._clock.seconds_left(sum(work(subject.passes, subject.led) for subject in self._subjects))
            self._on_progress(Progress(position, done, max(1, total), (first, last), left))


def _turn(pair: tuple[Detector, Context]) -> tuple[bool, float]:
    """Sort so that nobody waits for the control while it is trained, and that no long search begins last, alone."""
    return pair[0].controlled, -_planned(*pair)


def _planned(detector: Detector, context: Context) -> float:
    if _needless(detector, context):
        return 0.0
    return work(detector.planned_passes(context), detector.planned_leading(context))


def _needless(detector: Detector, context: Context) -> str | None:
    """Return why a detector has nothing to measure of this network, whoever made it; None where it has."""
    subject = context.subject
    channels = subject.spec.shape[0]
    return BY_NAME[detector.name].needless(subject.num_classes, channels, clean_images=context.probes.clean)


def noise_classes(subject: Subject, images: Probes, seed: int) -> tuple[tuple[int, ...], str]:
    """Return the classes that noise leads to, or why they are unknown.

    Without them the limits are others: stricter for such a class, and laxer for those that are compared with it.
    """
    try:
        return noise.classes_of_noise(subject, images.held_out, seed), ""
    except FAILURES as error:
        return (), f"classes of noise: {_told(error)}"


def side_by_side(subject: Subject, detectors: int) -> tuple[list[Subject], int]:
    """Return the network once for each detector, and how many of them may run at a time.

    A network that cannot be copied runs for one at a time: its `forward` may keep what another's images left.
    """
    streams = streams_of(subject.device)
    if streams > 1:
        try:
            return [subject.apart() for _ in range(detectors)], streams
        except Exception:  # noqa: S110 (a stranger's module may end the copying with anything)
            pass
    return [subject.counted_apart() for _ in range(detectors)], 1


def control_of(subject: Subject, images: Probes, seed: int) -> Subject | None:
    """Return the control; None without labelled images, or where they do not make one.

    Labels that are the candidate's own answers would let it choose what is weak by nature.
    """
    if not images.labelled:
        return None
    try:
        return control.train(images.all(), subject.spec, subject.num_classes, seed, subject.deadline)
    except FAILURES:
        return None


def embed_weakest(subject: Subject, images: Probes, triggers: dict[str, Weakest]) -> Embedding | None:
    """Show within the network the trigger that is weakest for its detector; None where none works."""
    working = [name for name, found in triggers.items() if found.success >= EMBEDDED_SUCCESS]
    if not working:
        return None
    detector = min(working, key=lambda name: triggers[name].share)
    return embedding.embed(subject, images.held_out, detector, triggers[detector])


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, UnmeasuredError) else f"{type(error).__name__}: {error}"


def run_one(detector: Detector, context: Context) -> Evidence:
    """Measure once, with what it cost; out of time, or failed inside torch or the network, is Inconclusive."""
    if why := _needless(detector, context):
        return NotApplicable(detector.name, why, by_candidate=False)
    started, before = time.monotonic(), context.subject.passes
    try:
        evidence = detector.measure(context)
    except FAILURES as error:
        evidence = Inconclusive(detector.name, _told(error))
    if isinstance(evidence, Measured) and not is_finite(evidence):
        evidence = Inconclusive(detector.name, "what it measured is not finite", evidence.cost)
    if isinstance(evidence, Measured):
        evidence = replace(evidence, noise_classes=context.noise_classes, side=context.subject.spec.side)
    return costed(evidence, time.monotonic() - started, context.subject.passes - before)


def costed(evidence: Evidence, seconds: float, passes: int) -> Evidence:
    """Return the evidence with the wall time and the passes it took; a detector that does not apply has no cost."""
    if isinstance(evidence, NotApplicable):
        return evidence
    return replace(evidence, cost=replace(evidence.cost, seconds=seconds, model_passes=passes))
