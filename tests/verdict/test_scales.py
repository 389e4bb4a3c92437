"""The limits that users read are the limits that judge."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.plausible import STRONGEST, strongest
from backdoor_gate.records import Measured
from backdoor_gate.trigger_facts import Pair
from backdoor_gate.verdict.criteria import criteria, index_excess
from backdoor_gate.verdict.limits import crowded, small_excesses
from backdoor_gate.verdict.pair_residuals import residuals
from backdoor_gate.verdict.scales import (
    PAIR_SCALES,
    SCALES,
    SUPPORTS,
    WITHOUT_CLEAN_IMAGES,
    Scale,
    pair_scale_of,
    scale_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text("utf-8")


def test_every_detector_has_a_scale() -> None:
    assert set(SCALES) | set(PAIR_SCALES) == set(BY_NAME)


@pytest.mark.parametrize("name", [name for name in SCALES if name != "final_layer"])
def test_the_document_states_every_limit(name: str) -> None:
    scale = scale_of(Measured(name, (1.0,) * 10, verified=True))
    _, _, usual, of_noise, _ = next(rows(name)).split("|")
    for limit in (*limits(scale), *limits(scale.of_one_source or Scale())):
        assert f" {limit:g} " in words(usual), f"{limit} is not in {usual!r}"
    assert (of_noise.strip() == "the same") == (scale.of_noise is None)
    for limit in limits(scale.of_noise or Scale()):
        assert f" {limit:g} " in words(of_noise), f"{limit} is not in {of_noise!r}"


@pytest.mark.parametrize("name", WITHOUT_CLEAN_IMAGES)
def test_the_document_states_every_limit_without_clean_images(name: str) -> None:
    *_, row = (row for row in rows(name) if row.count("|") == 3)
    stated = row.split("|")[2]
    for limit in limits(scale_of(Measured(name, (1.0,) * 10, verified=False))):
        assert f" {limit:g} " in words(stated), f"{limit} is not in {stated!r}"


@pytest.mark.parametrize("name", SCALES)
def test_the_limits_follow_the_images(name: str) -> None:
    on_clean, on_synthetic = (Measured(name, (1.0,) * 10, verified=verified) for verified in (True, False))
    most, without = (strongest(name, 0, clean_images=clean) for clean in (True, False))
    assert scale_of(on_clean) == SCALES[name].up_to(most)
    assert scale_of(on_synthetic) == WITHOUT_CLEAN_IMAGES.get(name, SCALES[name]).up_to(without)


@pytest.mark.parametrize("name", [*SCALES, *PAIR_SCALES])
def test_of_larger_images_a_natural_patch_is_a_smaller_share(name: str) -> None:
    limits_of = pair_scale_of if name in PAIR_SCALES else scale_of
    usual, large = (limits_of(Measured(name, (1.0,) * 10, verified=True, side=side)) for side in (32, 64))
    for side in (0, 28) if name == "neural_cleanse" else (0, 8, 28):
        assert limits_of(Measured(name, (1.0,) * 10, verified=True, side=side)) == usual
    changed = {
        "neural_cleanse": {
            "absolute": 0.00425,
            "absolute_few": 0.004,
            "few_controlled": (0.00425, 0.2),
            "of_noise": replace(usual.of_noise, absolute=0.00425)
            if isinstance(usual, Scale) and usual.of_noise
            else None,
        },
        "pair_patch": {"single": 0.00425},
    }
    assert large == replace(usual, **changed.get(name, {}))


def test_of_smaller_images_a_planted_patch_is_a_larger_share() -> None:
    of_side = {
        side: scale_of(Measured("neural_cleanse", (1.0,) * 10, verified=True, side=side)) for side in (8, 27, 28, 32)
    }
    assert of_side[8] == of_side[32].up_to(3.5 * of_side[32].comparable)
    assert of_side[27].comparable > of_side[28].comparable == of_side[32].comparable


@pytest.mark.parametrize("detector", [*STRONGEST, "max_margin"])
@pytest.mark.parametrize("clean_images", [True, False])
def test_what_is_too_strong_to_count_blocks_nothing(detector: str, clean_images: bool) -> None:
    """So a scan need not look at it again."""
    most = strongest(detector, 32, clean_images=clean_images)
    assert math.isinf(most) == (detector == "max_margin" or (detector == "warp_inversion" and not clean_images))
    if math.isinf(most):
        return
    for strength, counts in ((0.99 * most, True), (1.01 * most, False)):
        evidence = Measured(detector, (strength, *(1e3 * most,) * 9), (1.0,) * 10, verified=clean_images, side=32)
        pairs = tuple(
            Pair(s, t, strength if (s, t) == (0, 1) else 1e3 * most, 1.0, 1.0)
            for s in range(10)
            for t in range(10)
            if s != t
        )
        if detector in PAIR_SCALES:
            found = residuals(pairs, pair_scale_of(replace(evidence, pairs=pairs)).largest)
            assert (found is not None and bool(found.works.any())) == counts
        else:
            found = criteria(evidence, 0, index_excess(evidence, 0.01))
            assert found is not None
            assert bool(found.words) == counts


@pytest.mark.parametrize("name", PAIR_SCALES)
def test_of_many_pairs_one_has_to_be_weaker(name: str) -> None:
    scale = PAIR_SCALES[name]
    assert scale.among(6) == scale.among(90) == scale
    many = scale.among(16 * 90)
    assert (many.alone, many.apart, many.controlled) == (scale.alone / 2, scale.apart / 2, scale.controlled / 2)
    assert (many.together, many.largest, many.single) == (scale.together, scale.largest, scale.single)


def rows(name: str) -> Iterator[str]:
    return (line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}` | "))


def limits(scale: Scale) -> list[float]:
    shares = (scale.of_median, scale.of_runner_up, scale.of_control)
    few = (scale.absolute_few, *(scale.few_controlled or ()))
    found = (
        scale.absolute,
        scale.at_least,
        scale.at_least_few,
        scale.least_apart,
        scale.together,
        *few,
        *shares,
        scale.above_runner_up,
        scale.comparable if any(shares) else None,
    )
    return [limit for limit in found if limit is not None]


def words(cell: str) -> str:
    return f" {cell} ".replace(",", " ").replace(";", " ")


@pytest.mark.parametrize("name", PAIR_SCALES)
def test_the_document_states_the_limits_of_pairs(name: str) -> None:
    (row,) = rows(name)
    scale = pair_scale_of(Measured(name, (1.0,) * 10, verified=True))
    for limit in (scale.alone, scale.apart, scale.controlled, scale.together, scale.largest):
        assert f" {limit:g} " in f"{row} ".replace(",", " ").replace(";", " "), f"{limit} is not in {row!r}"


def test_the_document_states_what_bears_out_a_margin() -> None:
    assert f"at most {SUPPORTS:g} of the" in " ".join(DOCUMENT.split())


def test_the_limits_are_those_of_ten_classes_and_stricter_for_more() -> None:
    powers = [crowded(classes) for classes in (2, 10, 11, 43, 100, 1_000)]
    assert powers[:2] == [1.0, 1.0]
    assert powers == sorted(powers)
    assert powers[-1] == pytest.approx(4.265 / 3.090, abs=1e-3)  # quantiles at 0.01 / 1000 and 0.01 / 10


@pytest.mark.parametrize(("classes", "small"), [(10, True), (1_000, False)])
def test_of_many_classes_one_is_weak_by_chance(classes: int, small: bool) -> None:
    values = [0.9 * SCALES["neural_cleanse"].of_median * 0.1, *[0.1] * (classes - 1)]
    values[1] = values[0] / 0.9  # no gap to the next
    scale = replace(SCALES["neural_cleanse"], absolute=None)
    assert any(each.counts for each in small_excesses(scale, values, 0, few=False)) == small
