"""What the child said, held against the job: claims that no honest worker would make are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.catalogue import BY_NAME, FEWEST_COMPARED, MOST_UNDECLARED
from backdoor_gate.worker.schema import (
    MAX_ARRAY_BYTES,
    InspectionDocument,
    MachineDocument,
    MeasuredDocument,
    NotApplicableDocument,
)
from backdoor_gate.worker.wire import malformed

if TYPE_CHECKING:
    from backdoor_gate.catalogue import DetectorPlan
    from backdoor_gate.records import Job
    from backdoor_gate.worker.schema import (
        EmbeddingDocument,
        ExaminationDocument,
        InputDocument,
        PreparationDocument,
        ProgressDocument,
        ScanDocument,
    )


def check_progress(progress: ProgressDocument, job: Job) -> None:
    """Hold a progress message against the job.

    Raises:
        WorkerError: a detector that was not ordered, more steps done than there are, or classes out of order.
    """
    first, last = progress.classes
    _require(
        (progress.detector < len(job.detectors), "progress of no detector"),
        (progress.done <= progress.total, "progress beyond the end"),
        (first <= last, "progress with classes out of order"),
    )


def check_scan(scan: ScanDocument, job: Job) -> None:
    """Hold a scan against the job it answers.

    Raises:
        WorkerError: other detectors than ordered, a count that differs from the number of classes, a class or a shape
            that the model does not have, or a claim that the job rules out.
    """
    declared = job.declared
    channels = scan.input.shape[0]
    _require(
        (scan.format in job.formats, "format that the policy does not list"),
        (declared.num_classes in (None, scan.num_classes), "class count is not the policy's"),
        (
            declared.num_classes is not None or scan.num_classes <= MOST_UNDECLARED,
            "more classes than may go undeclared",
        ),
        (declared.shape is None or list(declared.shape) == scan.input.shape, "input shape is not the policy's"),
        (scan.input.low < scan.input.high, "input range is empty"),
        (all(len(part) == channels for part in (scan.input.mean, scan.input.std) if part), "normalisation per channel"),
        (scan.data.kind == "synthetic" or job.data is not None, "clean images that were never given"),
        (scan.data.kind == "clean" or job.data is None, "synthetic images in place of the clean ones"),
        (scan.data.kind == "clean" or scan.data.accuracy is None, "accuracy on synthetic images"),
        ([e.detector for e in scan.evidence] == [p.name for p in job.detectors], "other detectors than ordered"),
    )
    for evidence, plan in zip(scan.evidence, job.detectors, strict=True):
        if isinstance(evidence, MeasuredDocument):
            _check_measured(evidence, scan)
            _check_screening(evidence, plan)
        elif isinstance(evidence, NotApplicableDocument):
            _check_excuse(evidence, scan, job)
    if scan.embedding:
        _check_embedding(scan.embedding, scan)


def check_examination(told: ExaminationDocument, job: Job) -> None:
    """Hold the answer to another task than a scan against the job.

    Raises:
        WorkerError: a claim that the job rules out, a class that the model does not have, or counts that differ.
    """
    if isinstance(told, MachineDocument):
        return
    _require((told.format in job.formats, "format that the policy does not list"))
    if isinstance(told, InspectionDocument):
        return
    tried = len(told.trials[0].predicted) or max(len(trial.predicted) for trial in told.trials)
    spec, labels, classes = told.input, told.labels, range(told.num_classes)
    channels = spec.shape[0]
    ways: list[InputDocument | PreparationDocument] = [spec, *(trial.preparation for trial in told.trials)]
    parts = [part for way in ways for part in (way.mean, way.std) if part]
    _require(
        (job.declared.num_classes in (None, told.num_classes), "class count is not the policy's"),
        (spec.low < spec.high and told.lowest <= told.highest, "range is empty"),
        (all(len(part) == channels for part in parts), "normalisation per channel"),
        (told.images == 0 or job.data is not None, "clean images that were never given"),
        (told.images <= told.available, "more images than there are"),
        (labels is None or len(labels) == told.images, "not one label per image"),
        (all(label in classes for label in labels or ()), "label of no class"),
        (told.images == 0 or tried <= told.images, "more images tried than there are"),
        (all(len(trial.predicted) in (0, tried) for trial in told.trials), "not one prediction per image"),
        (all(k in classes for trial in told.trials for k in trial.predicted), "prediction of no class"),
        (all(len(trial.losses) in {0, len(trial.predicted)} for trial in told.trials), "not one loss per image"),
        (labels is not None or not any(trial.losses for trial in told.trials), "losses without labels"),
    )


def _check_measured(measured: MeasuredDocument, scan: ScanDocument) -> None:
    lengths = [len(vector) for vector in (measured.values, measured.success) if vector is not None]
    pairs = measured.pairs
    columns = (pairs.sources, pairs.targets, pairs.strengths, pairs.success, pairs.leads)
    ways = list(zip(pairs.sources, pairs.targets, strict=False))
    mask = [1, *scan.input.shape[1:]]
    artefacts = measured.artefacts
    again = [(each.source, each.target) for each in measured.confirmations]
    controls = [(each.source, each.target) for each in measured.controls]
    known = set(ways) if ways else {(None, target) for target in range(len(measured.values))}
    told = [artefact.prediction for artefact in artefacts if artefact.prediction]
    _require(
        (all(length == scan.num_classes for length in lengths), "not one value per class"),
        (scan.data.kind == "clean" or not measured.verified, "verified without clean images"),
        (all(max(a.class_index, a.source_class or 0) < scan.num_classes for a in artefacts), "artefact of no class"),
        (all(p.class_index < scan.num_classes for p in told), "prediction of no class"),
        (len({len(column) for column in columns}) == 1, "columns of unlike length"),
        (all(s != t and max(s, t) < scan.num_classes for s, t in ways), "pair of no classes"),
        (len(set(ways)) == len(ways), "the same pair twice"),
        (known.issuperset(again), "second look at no trigger"),
        (len(set(again)) == len(again), "second look twice at the same trigger"),
        (not again or measured.success is not None, "second look without triggers"),
        (known.issuperset(controls), "control of no trigger"),
        (len(set(controls)) == len(controls), "control twice of the same trigger"),
        (not controls or measured.success is not None, "control without triggers"),
        (not controls or scan.data.accuracy is not None, "control without labels"),
        (sorted(set(measured.noise_classes)) == measured.noise_classes, "classes of noise out of order"),
        (max(measured.noise_classes, default=0) < scan.num_classes, "noise that leads to no class"),
        (len(measured.means) in (0, scan.num_classes), "means of no class"),
        (all((each.source or 0) < scan.num_classes for each in measured.means), "means with images of no class"),
        (all(each.source is not None or not each.particular for each in measured.means), "particular to no class"),
        (all(a.shape == (mask if a.name == "mask" else scan.input.shape) for a in artefacts), "artefact's shape"),
        (sum(a.nbytes for a in artefacts) <= MAX_ARRAY_BYTES, "artefacts larger than allowed"),
    )


def _check_screening(measured: MeasuredDocument, plan: DetectorPlan) -> None:
    """Let no class be left out but where there are more than the policy searches in full, and no more of them."""
    told, classes = measured.screening, len(measured.values)
    if told is None:
        return
    left_out, drawn = set(told.left_out), set(told.drawn)
    of_pairs = "sources" in plan.settings
    most = plan.settings.get("sources" if of_pairs else "classes", classes)
    searched, valued = classes - len(left_out), [k for k, value in enumerate(measured.values) if value is not None]
    _require(
        (most < classes, "classes left out of a detector that searches all"),
        (sorted(left_out) == told.left_out and sorted(drawn) == told.drawn, "classes of the screening out of order"),
        (max(left_out | drawn, default=0) < classes, "screening of no class"),
        (left_out.isdisjoint(drawn), "class both drawn and left out"),
        (of_pairs or searched == most, "other classes left out than the policy says"),
        (of_pairs or len(drawn) >= FEWEST_COMPARED, "too few classes drawn"),
        (of_pairs or left_out.isdisjoint(valued), "value of a class that was left out"),
        (not of_pairs or (searched <= most and not drawn), "more sources than the policy says"),
        (left_out.isdisjoint(measured.pairs.sources), "pair from a source that was left out"),
    )


def _check_excuse(told: NotApplicableDocument, scan: ScanDocument, job: Job) -> None:
    """Let only what the catalogue says excuse a required detector: any other excuse would be the worker's word alone.

    Whether there were clean images is the job's to say; how many classes there are, and what shape the images have, has
    been held against the policy, where that says it.
    """
    channels = scan.input.shape[0]
    reason = BY_NAME[told.detector].needless(scan.num_classes, channels, clean_images=job.data is not None)
    _require((told.by_candidate or reason is not None, "required detector excused without a reason"))


def _check_embedding(told: EmbeddingDocument, scan: ScanDocument) -> None:
    measured = {evidence.detector for evidence in scan.evidence if isinstance(evidence, MeasuredDocument)}
    classes = (*told.labels, told.target, told.source or 0)
    _require(
        (told.detector in measured, "embedding of a trigger that no detector found"),
        (len(told.triggered) == len(told.labels), "columns of unlike length"),
        (0 < sum(told.triggered) <= len(told.labels) / 2, "more triggered images than clean ones, or none"),
        (told.triggered == sorted(told.triggered), "clean images after triggered ones"),
        (len(told.shares) <= len(told.labels), "more components than images"),
        (max(classes) < scan.num_classes, "embedding of no class"),
    )


def _require(*claims: tuple[bool, str]) -> None:
    for holds, rule in claims:
        if not holds:
            raise malformed(rule)
