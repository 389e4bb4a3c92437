"""What a verdict speaks of, and what it does not."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import BY_NAME, DETECTORS
from backdoor_gate.records import Coverage, DetectorResult, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER_TESTED = (
    "triggers that differ from image to image as no small network can make them",
    "backdoors that are provably hidden in the weights",
    "input other than images",
)
"""What no detector of the pack looks for."""


WITHOUT_CLEAN_IMAGES = (
    "success of the recovered triggers on real images (synthetic probes only)",
    "many backdoors: without clean images 4 of 12 planted ones passed (docs/quality.md)",
)
"""What synthetic probes leave open; the figure is of frozen evaluation networks."""


LEFT_OUT = {
    False: "a target planted among them passes, as of 1,000 classes 2 of 129 measured ones would (docs/performance.md)",
    True: "what is planted from these alone is not seen",
}
"""What the screening of many classes leaves open: of classes, and of the sources of pairs."""


def coverage(results: Sequence[DetectorResult], *, clean_data: bool) -> Coverage:
    """Return what was and was not tested.

    Args:
        results: of the detectors that were to run.
        clean_data: whether the pipeline gave clean images.
    """
    measured = {result.name for result in results if result.status is Status.MEASURED}
    tested = tuple(f"{name}: {BY_NAME[name].claim}" for name in BY_NAME if name in measured)
    missing = tuple(
        f"{spec.name}: not run, so not looked for: {spec.claim}" for spec in DETECTORS if spec.name not in measured
    )
    unverified = () if clean_data else WITHOUT_CLEAN_IMAGES
    return Coverage(tested, (*missing, *_left_out(results), *unverified, *NEVER_TESTED))


def _left_out(results: Sequence[DetectorResult]) -> tuple[str, ...]:
    """Return what detectors have left out of many classes, one line for all that have left out as many."""
    names: dict[tuple[bool, int, int], list[str]] = defaultdict(list)
    for result in results:
        if result.screening is not None and result.screening.left_out:
            key = bool(result.pairs), len(result.screening.left_out), len(result.per_class)
            names[key].append(result.name)
    return tuple(
        f"{left_out} of {classes} {'source classes' if of_pairs else 'classes'}"
        f"{'' if of_pairs else ', but for a short search'}, by {', '.join(by)}: {LEFT_OUT[of_pairs]}"
        for (of_pairs, left_out, classes), by in names.items()
    )
