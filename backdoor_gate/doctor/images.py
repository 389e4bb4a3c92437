"""What a diagnosis says of the clean images: how they are prepared, labelled and numbered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.doctor.finding import Finding, note, ok, problem
from backdoor_gate.doctor.readings import Reading, plain, reordered
from backdoor_gate.records import DataFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backdoor_gate.examination import Diagnosis, Preparation

    Place = Callable[[str], str]

PER_CLASS = 10
"""Clean images of a class without which too few are held out to judge its trigger: half of them, at least five."""

LOW = 0.5
"""Accuracy below which a model is worth a word, though it does not guess."""

_LISTED = 8


@dataclass(frozen=True, slots=True)
class Readings:
    """What came of the trials.

    Attributes:
        present: the reading that a scan would use.
        best: the best one; the present one where none is better.
        ties: others that are about as good as the best, where that is not the present one.
    """

    present: Reading
    best: Reading
    ties: tuple[Reading, ...] = ()


def compared(diagnosis: Diagnosis) -> Readings | None:
    """Hold the present preparation and order of the classes against the others; None without labels."""
    readings = plain(diagnosis)
    if not readings:
        return None
    found = _prepared_best(readings)
    numbered = reordered(diagnosis)
    other = max(numbered, key=lambda reading: reading.accuracy)
    if other.beats(found.best):
        return Readings(found.present, other if other.beats(numbered[0]) else numbered[0])
    return found


def _prepared_best(readings: Sequence[Reading]) -> Readings:
    """Return the best preparation: of several that are about equal the one that is tried first, see `usual`."""
    present = readings[0]
    better = [reading for reading in readings if reading.beats(present)]
    if not better:
        return Readings(present, present)
    fittest = min(better, key=lambda reading: (reading.loss or 0.0, -reading.accuracy))
    best, *ties = (reading for reading in better if reading.equals(fittest))
    return Readings(present, best, tuple(ties))


def image_findings(diagnosis: Diagnosis, max_unmeasured: float, place: Place) -> tuple[Finding, ...]:
    """Judge the clean images.

    Args:
        diagnosis: the facts.
        max_unmeasured: share of classes that the policy lets go unmeasured.
        place: returns file and line of a policy key, and the key.
    """
    if diagnosis.images == 0:
        hint = "name a few hundred labelled images that the model's maker did not choose, or give --data"
        return (
            note("no-data", "no clean images: evidence from synthetic ones is unverified", place("data.clean"), hint),
        )
    readings = compared(diagnosis)
    found = [*_outside(diagnosis, readings, place)]
    if readings is None:
        hint = "store 'labels' beside 'images', or use one folder per class"
        return (
            *found,
            note("no-labels", "the clean images have no labels: nothing checks them", place("data.clean"), hint),
        )
    told = {finding.kind for finding in found}
    found += [finding for finding in _preparation(readings, place) if finding.kind not in told]
    found += _order(readings, place)
    return (*found, _accuracy(diagnosis, readings, place), *_per_class(diagnosis, max_unmeasured, place))


def _outside(diagnosis: Diagnosis, readings: Readings | None, place: Place) -> Iterator[Finding]:
    """Yield that a scan would not accept the values of float images."""
    spec, low, high = diagnosis.input, diagnosis.lowest, diagnosis.highest
    slack = 1e-5 * (spec.high - spec.low)
    if diagnosis.whole_numbers or (low >= spec.low - slack and high <= spec.high + slack):
        return
    way = readings.best.preparation if readings and readings.best is not readings.present else None
    hint = _fix(readings) if readings and way else f"set range: [{low:.4g}, {high:.4g}]"
    what = f"the images hold {low:.4g} to {high:.4g}, the policy says {spec.low:g} to {spec.high:g}"
    yield problem("input-range", what, place("model.input.range"), hint)


def _preparation(readings: Readings, place: Place) -> Iterator[Finding]:
    """Yield what another preparation would gain."""
    present, best = readings.present.preparation, readings.best.preparation
    gain = f"{_told(readings.present)} of the clean images are right, {_told(readings.best)} "
    fix = _fix(readings)
    if (best.low, best.high) != (present.low, present.high):
        yield problem("input-range", f"{gain}in another range", place("model.input.range"), fix)
    elif (best.mean, best.std) != (present.mean, present.std):
        how = "without" if best.mean is None else "with" if present.mean is None else "with another"
        yield problem("normalisation", f"{gain}{how} normalisation", place("model.input.normalize"), fix)
    if best.reversed:
        hint = "reverse them in the data: images[..., ::-1] for uint8, images[:, ::-1] for floats"
        yield problem("channel-order", f"{gain}with the channels reversed (RGB, BGR)", place("data.clean"), hint)


def _told(reading: Reading) -> str:
    fit = "" if reading.loss is None else f" (cross-entropy {reading.loss:.2g})"
    return f"{reading.accuracy:.0%}{fit}"


def _fix(readings: Readings) -> str:
    """Return what to change, and what would do about as well."""
    equal = also(readings)
    fix = " and ".join(_steps(readings.present.preparation, readings.best.preparation))
    return f"{fix}; {equal}" if equal else fix


def also(readings: Readings) -> str:
    """Return what would do about as well as the best preparation, with no more changes; empty where nothing would."""
    present = readings.present.preparation
    fewest = len(_steps(present, readings.best.preparation))
    changes = [_steps(present, tie.preparation) for tie in readings.ties if not tie.preparation.reversed]
    equal = ", or ".join(" and ".join(steps) for steps in changes if len(steps) <= fewest)
    return f"about as good: {equal}; take what the network was trained with" if equal else ""


def _steps(present: Preparation, best: Preparation) -> list[str]:
    """Return the policy's keys and values that turn one preparation into the other."""
    steps = []
    if (best.low, best.high) != (present.low, present.high):
        steps.append(f"set range: [{best.low:g}, {best.high:g}]")
    if best.mean is not None and best.std is not None and (best.mean, best.std) != (present.mean, present.std):
        mean, std = (", ".join(f"{value:.4g}" for value in part) for part in (best.mean, best.std))
        steps.append(f"set normalize: {{mean: [{mean}], std: [{std}]}}")
    elif best.mean is None and present.mean is not None:
        steps.append("remove normalize")
    return steps


def _order(readings: Readings, place: Place) -> Iterator[Finding]:
    """Yield that the labels are numbered otherwise than the model's classes."""
    order = readings.best.order
    if not order:
        return
    moved = [f"{label} to {found}" for label, found in order.items() if label != found]
    more = f" and {len(moved) - _LISTED} more, all in class_order of --json" if len(moved) > _LISTED else ""
    listed = ", ".join(moved[:_LISTED]) + more
    what = (
        f"the labels are not in the order of the model's classes: {readings.best.accuracy:.0%} instead of "
        f"{readings.present.accuracy:.0%} of the clean images are right in another"
    )
    yield problem("class-order", what, place("data.clean"), f"renumber the labels: {listed}")


def _accuracy(diagnosis: Diagnosis, readings: Readings, place: Place) -> Finding:
    accuracy, count = readings.present.accuracy, len(readings.present.right)
    share = f"{accuracy:.0%} of {count} clean images are right"
    if count and not DataFacts("clean", count, accuracy).is_guessing(diagnosis.num_classes):
        if accuracy >= LOW:
            return ok("accuracy", share)
        hint = "check that the images belong to this model, and are prepared as in its training"
        return note("accuracy", f"only {share}", place("data.clean"), hint)
    if readings.best is not readings.present:
        return problem("accuracy", f"{share}, no better than guessing", place("data.clean"), "mend what is said above")
    hint = "check that images, classes and normalisation are this model's, and that it is trained"
    what = f"{share}, no better than guessing, and no usual preparation or order of the classes helps"
    return problem("accuracy", what, place("data.clean"), hint)


def _per_class(diagnosis: Diagnosis, max_unmeasured: float, place: Place) -> Iterator[Finding]:
    """Yield which classes have too few images."""
    counts = Counter(diagnosis.labels)
    few = [k for k in range(diagnosis.num_classes) if counts[k] < PER_CLASS]
    if not few:
        return
    listed = ", ".join(f"{k} has {counts[k]}" for k in few[:_LISTED]) + (", ..." if len(few) > _LISTED else "")
    what = f"{len(few)} of {diagnosis.num_classes} classes have fewer than {PER_CLASS} clean images: class {listed}"
    key, hint = "data.clean", f"give at least {PER_CLASS} per class"
    if diagnosis.available > diagnosis.images:
        key, hint = "data.max_images", f"raise it to {PER_CLASS * diagnosis.num_classes} or more, or {hint}"
    missing = len(few) > max_unmeasured * diagnosis.num_classes
    yield (problem if missing else note)("few-images", what, place(key), hint)
