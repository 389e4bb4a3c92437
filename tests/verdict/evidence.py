"""Evidence made up for the judge: clean, planted, and anything that a worker could send."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from backdoor_gate.records import (
    DataFacts,
    Evidence,
    Inconclusive,
    InputSpec,
    Measured,
    NotApplicable,
    Runtime,
    Scan,
)
from backdoor_gate.trigger_facts import Confirmation, Control, Means, Pair
from backdoor_gate.verdict.judgement import Judgement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INVERSIONS = (
    "neural_cleanse",
    "spectral_inversion",
    "frequency_inversion",
    "ground_inversion",
    "warp_inversion",
    "generator_inversion",
)
WITHOUT_TRIGGER = ("final_layer", "max_margin")

TRIED = ("corruption_probe", "tone_probe", "patch_sweep", "wave_sweep", "stripe_sweep")
"""Detectors that try things out, and say what."""

PAIRS = ("pair_patch", "pair_spectral", "pair_warp")
NAMES = (*WITHOUT_TRIGGER, *TRIED, *INVERSIONS, *PAIRS)

CLEAN = {
    "final_layer": (0.61, 0.52, 0.68, 0.55, 0.63, 0.47, 0.58, 0.5, 0.65, 0.57),
    "max_margin": (23.0, 21.0, 26.0, 19.0, 24.0, 22.0, 27.0, 20.0, 25.0, 22.5),
    "tone_probe": (0.03, 0.0, 0.11, 0.06, -0.02, 0.29, 0.05, 0.01, 0.0, 0.04),
    "corruption_probe": (0.02, 0.05, 0.0, 0.11, -0.01, 0.03, 0.04, 0.07, 0.01, 0.06),
    "patch_sweep": (0.4, 0.55, 0.0, 0.7, 0.35, 0.6, 0.5, 0.45, 0.65, 0.3),
    "wave_sweep": (0.3, 1.5, 0.5, 0.2, 1.4, 0.4, 0.6, 1.6, 0.7, 1.7),
    "stripe_sweep": (14.0, 16.0, 8.8, 12.0, 7.4, 11.0, 20.0, 18.0, 9.2, 13.0),
    "neural_cleanse": (0.11, 0.1, 0.12, 0.09, 0.13, 0.105, 0.095, 0.115, 0.125, 0.108),
    "spectral_inversion": (0.4, 0.43, 0.38, 0.45, 0.41, 0.39, 0.42, 0.44, 0.37, 0.46),
    "frequency_inversion": (2.2, 2.6, 1.9, 2.9, 2.4, 2.1, 2.3, 2.7, 1.8, 2.5),
    "ground_inversion": (0.41, 0.38, 0.45, 0.5, 0.36, 0.47, 0.52, 0.4, 0.43, 0.39),
    "warp_inversion": (2.4, 2.6, 3.1, 2.2, 2.9, 2.5, 2.8, 3.0, 2.3, 2.7),
    "generator_inversion": (0.21, 0.23, 0.2, 0.25, 0.22, 0.24, 0.19, 0.26, 0.2, 0.27),
    "pair_patch": (0.02,) * 10,
    "pair_spectral": (0.3,) * 10,
    "pair_warp": (1.5,) * 10,
}
PLANTED = {
    "corruption_probe": 0.97,
    "tone_probe": 0.94,
    "patch_sweep": 3.2,
    "wave_sweep": 7.6,
    "stripe_sweep": 1.3,
    "neural_cleanse": 0.005,
    "spectral_inversion": 0.08,
    "frequency_inversion": 0.3,
    "ground_inversion": 0.06,
    "warp_inversion": 0.2,
    "generator_inversion": 0.04,
}
"""Values that no clean class has, for a network of ten classes."""


def clean(name: str) -> Measured:
    """Return what a detector says of an innocent network of ten classes."""
    if name in PAIRS:
        return with_pairs(name, innocent_pairs(CLEAN[name][0]))
    return with_values(name, CLEAN[name])


def innocent_pairs(weakest: float, classes: int = 10) -> list[Pair]:
    """Return pairs whose strengths follow from how far apart the classes are, up to a few percent."""
    noise = random.Random(0)
    ways = [(s, t) for s in range(classes) for t in range(classes) if s != t]
    leads = {way: noise.uniform(2, 12) for way in ways}
    least = min(leads.values())
    return [
        Pair(*way, weakest * (leads[way] / least) ** 0.7 * noise.uniform(1.0, 1.2), 1.0, leads[way]) for way in ways
    ]


def with_pairs(name: str, pairs: Iterable[Pair]) -> Measured:
    """Return a measurement of pairs."""
    return Measured(name, CLEAN[name], success=(1.0,) * 10, verified=True, pairs=tuple(pairs))


def planted(name: str, class_index: int = 3, *, success: float = 1.0) -> Measured:
    """Return what a detector says of a network with a trigger of its family for one class."""
    values = list(CLEAN[name])
    values[class_index] = PLANTED[name]
    return with_values(name, values, success=success)


def with_values(name: str, values: Sequence[float | None], *, success: float | None = 1.0) -> Measured:
    """Return a measurement whose triggers, where the detector has any, all work alike."""
    rates = (success,) * len(values) if name in (*INVERSIONS, *TRIED) else None
    means = (Means("what was tried", None),) * len(values) if name in TRIED else ()
    return Measured(name, tuple(values), success=rates, verified=rates is not None, means=means)


def scan_of(evidence: Iterable[Evidence], classes: int = 10, accuracy: float | None = 0.95, images: int = 500) -> Scan:
    """Return a finished scan."""
    data = DataFacts("clean", images, accuracy)
    runtime = Runtime("2.10.0", "cpu", "C", 0)
    return Scan(classes, InputSpec((1, 8, 8)), "safetensors", data, tuple(evidence), runtime)


def judgement(required: Sequence[str] = (), rate: float = 0.01, max_unmeasured: float = 0.2) -> Judgement:
    """Return a policy's part of the decision."""
    return Judgement(rate, tuple(required), max_unmeasured)


@st.composite
def anything(draw: st.DrawFn, name: str, classes: int) -> Evidence:
    """Draw whatever a detector could bring for a network of so many classes."""
    kind = draw(st.sampled_from(["measured"] * 6 + ["inconclusive", "not applicable", "excused"]))
    if kind == "inconclusive":
        return Inconclusive(name, "crashed")
    if kind != "measured":
        return NotApplicable(name, "no such layer", by_candidate=kind == "not applicable")
    number = st.floats(1e-4, 100) | st.floats(0.3, 0.5) | st.none()
    values = draw(st.lists(number, min_size=classes, max_size=classes))
    share = st.floats(0, 1) | st.just(1.0) | st.none()
    rates = draw(st.lists(share, min_size=classes, max_size=classes)) if name in (*INVERSIONS, *TRIED) else None
    source = st.none() | st.integers(0, classes - 1)
    sources = draw(st.lists(source, min_size=classes, max_size=classes)) if name in TRIED else ()
    means = tuple(Means("what was tried", source) for source in sources)
    of_noise = tuple(sorted(draw(st.sets(st.integers(0, classes - 1), max_size=3))))
    success = None if rates is None else tuple(rates)
    verified = rates is not None
    return Measured(name, tuple(values), success=success, verified=verified, noise_classes=of_noise, means=means)


@st.composite
def scans(draw: st.DrawFn, names: Sequence[str] = NAMES, least: int = 2, most: int = 12) -> Scan:
    """Draw scans with each of some detectors once, in any order."""
    classes = draw(st.integers(least, most))
    chosen = draw(st.lists(st.sampled_from(names), unique=True))
    accuracy = draw(st.none() | st.floats(0, 1) | st.just(0.95))
    return scan_of([draw(anything(name, classes)) for name in chosen], classes, accuracy)


@st.composite
def scans_with_zeros(draw: st.DrawFn) -> Scan:
    """Draw scans of one detector with triggers, a control and second looks, in which any strength may be zero."""
    classes = draw(st.integers(2, 7))
    name = draw(st.sampled_from((*INVERSIONS, *TRIED, *PAIRS)))
    number = st.just(0.0) | st.floats(0, 2) | st.none()
    ways: list[tuple[int | None, int]] = [(None, k) for k in range(classes)]
    if name in PAIRS:
        ways = [(s, t) for s in range(classes) for t in range(classes) if s != t]
    pairs = [Pair(s, t, draw(number), 1.0, draw(st.just(0.0) | st.floats(-1, 9))) for s, t in ways if s is not None]
    measured = with_values(name, [draw(number) for _ in range(classes)])
    return scan_of(
        [
            replace(
                measured,
                success=(1.0,) * classes,
                pairs=tuple(pairs),
                controls=tuple(Control(*way, draw(number)) for way in ways),
                confirmations=(Confirmation(*draw(st.sampled_from(ways)), draw(number), 1.0, None),),
            )
        ],
        classes,
    )
