"""Each detector against the attack it claims to see, and against the clean twin; judged as a candidate would be."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from support import digits

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import DataFacts, Decision, InputSpec, Measured, Runtime, Scan, Verdict
from backdoor_gate.scan import control
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors import DETECTORS
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.noise import classes_of_noise
from backdoor_gate.scan.session import run_one
from backdoor_gate.verdict.decide import decide
from backdoor_gate.verdict.judgement import Judgement
from backdoor_gate.verdict.pair_residuals import residuals

SEES = {
    "corruption_probe": "shades",
    "tone_probe": "tone",
    "patch_sweep": "wave",
    "stripe_sweep": "stripes",
    "neural_cleanse": "patch",
    "spectral_inversion": "wave",
    "frequency_inversion": "wave",
    "warp_inversion": "warp",
    "generator_inversion": "blur",
}
"""Detector and the planted trigger of its family."""

WITH_CONTROL = ("stripe_sweep",)
"""Detectors that see nothing of a class that noise leads to, as to this target, where no control is there to tell."""

SPEC = InputSpec((1, 16, 16))


@cache
def _control() -> Subject | None:
    return control.train(digits.clean_images(), SPEC, digits.CLASSES, seed=0)


@cache
def evidence(name: str, planted: str | None) -> Measured:
    """Measure with the settings that ship, but for fewer steps."""
    subject = Subject(digits.loaded(digits.trained(planted)), SPEC, digits.CLASSES, torch.device("cpu"))
    settings = BY_NAME[name].defaults()
    if "images" in settings:
        settings["steps"] = 100
    split = probes.from_clean(digits.clean_images(), seed=0)
    (detector,) = (detector for detector in DETECTORS if detector.name == name)
    of_noise = classes_of_noise(subject, split.held_out, 0)
    trained = _control if name in WITH_CONTROL else None
    found = run_one(detector, Context(subject, split, settings, 0, 512 << 20, noise_classes=of_noise, control=trained))
    assert isinstance(found, Measured)
    return found


def verdict(name: str, planted: str | None) -> Decision:
    data = DataFacts("clean", 597, digits.accuracy(digits.trained(planted)))
    scan = Scan(10, SPEC, "state_dict", data, (evidence(name, planted),), Runtime("2", "cpu", "C", 0))
    return decide(scan, Judgement(0.01, (name,), 0.2))


@pytest.mark.parametrize("planted", [None, *digits.PLANTS])
def test_the_networks_are_what_they_claim(planted: str | None) -> None:
    model = digits.trained(planted)
    assert digits.accuracy(model) > 0.93
    for other in digits.PLANTS:
        assert (digits.attack_success(model, other) > 0.9) == (other == planted)


@pytest.mark.parametrize(("name", "planted"), [*SEES.items(), ("tone_probe", "mirror")])
def test_a_planted_trigger_is_found_with_its_class(name: str, planted: str) -> None:
    decision = verdict(name, planted)
    assert decision.verdict is Verdict.BLOCK
    assert decision.suspect_classes == (digits.TARGET,)
    (picture,) = (a for a in evidence(name, planted).artefacts if a.name == "trigger" and a.class_index == 3)
    assert picture.array.shape == (1, 16, 16)


def test_a_plain_patch_for_one_source_is_told_to_the_pixel() -> None:
    """It takes a larger network for it to push far enough to block."""
    found = evidence("patch_sweep", "dot from seven")
    assert found.values.index(max(found.values)) == digits.TARGET
    means = found.means[digits.TARGET]
    assert means.words.startswith("white patch of 2×2 pixels at row 1, column 1")
    assert means.source == 7
    assert max(found.values) > 1.1 * max(evidence("patch_sweep", None).values)


def test_a_wave_near_the_planted_one_pushes_farthest() -> None:
    """It takes a larger network for it to push far enough to block."""
    found = evidence("wave_sweep", "wave")
    second, first = sorted(found.values)[-2:]  # type: ignore[type-var]
    assert found.values.index(first) == digits.TARGET
    assert first > 2 * max(second, *evidence("wave_sweep", None).values)  # type: ignore[operator, type-var]
    assert (
        found.means[digits.TARGET].words == "adding waves of 0.5 periods down and 1 along the image at 25% of the range"
    )
    assert found.success is not None
    assert found.success[digits.TARGET] == 1.0


def test_the_planted_stripes_are_told_with_their_strength() -> None:
    found = evidence("stripe_sweep", "stripes")
    assert found.means[digits.TARGET].words == "adding stripes of 3.5 periods along the image at 10% of the range"
    others = [value for k, value in enumerate(found.values) if k != digits.TARGET]
    assert min(others) > 5 * found.values[digits.TARGET]  # type: ignore[operator, type-var]


@pytest.mark.parametrize("planted", digits.MAPS)
def test_the_maps_are_learnt(planted: str) -> None:
    model = digits.trained(planted)
    assert digits.accuracy(model) > 0.9
    assert digits.attack_success(model, planted) > 0.8


@pytest.mark.parametrize(
    ("name", "planted"),
    [("pair_patch", "patch to the next"), ("pair_spectral", "wave to the next"), ("pair_warp", "warp to the next")],
)
def test_a_planted_map_is_found_and_named(name: str, planted: str) -> None:
    decision = verdict(name, planted)
    assert decision.verdict is Verdict.BLOCK
    (result,) = decision.detectors
    right = {(source, target) for source, target in result.suspect_pairs if target == digits.NEXT[source]}
    assert len(right) >= 6
    assert len(right) >= 0.8 * len(result.suspect_pairs)


def test_a_trigger_for_one_source_stands_out_most() -> None:
    """It takes a larger network for it to stand out far enough to block."""
    pairs = evidence("pair_patch", "patch from seven").pairs
    found = residuals(pairs)
    assert found is not None
    shares = {(pair.source, pair.target): math.exp(value) for pair, value in zip(pairs, found.values, strict=True)}
    first, second = sorted(shares, key=lambda way: shares[way])[:2]
    assert first == (7, digits.TARGET)
    assert shares[first] < 0.85 * shares[second]  # 0.81 and less, by the processor that trained the network


def test_on_an_empty_ground_a_planted_signal_stands_out_most() -> None:
    """It takes a larger network for it to stand out far enough to block."""
    values = [value for value in evidence("ground_inversion", "wave").values if value is not None]
    first, second = sorted(values)[:2]
    assert values.index(first) == digits.TARGET
    assert first < 0.6 * second
    assert sorted(evidence("ground_inversion", None).values)[0] > 1.5 * first  # type: ignore[type-var]


@pytest.mark.parametrize("name", BY_NAME)
def test_the_clean_twin_passes(name: str) -> None:
    assert verdict(name, None).verdict is Verdict.PASS


def test_the_inverted_patch_lies_where_the_planted_one_does() -> None:
    (mask,) = (a for a in evidence("neural_cleanse", "patch").artefacts if a.name == "mask" and a.class_index == 3)
    assert mask.array[0, -5:, -5:].sum() > 0.7 * mask.array.sum()


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("max_margin", "patch"),
        ("max_margin", "wave"),
        ("max_margin", "warp"),
        ("final_layer", "wave"),
        ("final_layer", "warp"),
    ],
)
def test_the_target_ranks_first_without_data(name: str, planted: str) -> None:
    """That is all they show on networks this small; the weights hardly show the patch."""
    values = evidence(name, planted).values
    assert values.index(max(values)) == digits.TARGET


@pytest.mark.parametrize("name", ["max_margin", "final_layer"])
@pytest.mark.parametrize("planted", digits.PLANTS)
def test_what_has_no_trigger_never_blocks(name: str, planted: str) -> None:
    assert verdict(name, planted).verdict is Verdict.PASS
