"""The limits that users read are the limits that judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.records import Measured
from backdoor_gate.verdict.limits import crowded, small_excesses
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
    scale = SCALES[name]
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
    for limit in limits(WITHOUT_CLEAN_IMAGES[name]):
        assert f" {limit:g} " in words(stated), f"{limit} is not in {stated!r}"


@pytest.mark.parametrize("name", SCALES)
def test_the_limits_follow_the_images(name: str) -> None:
    on_clean, on_synthetic = (Measured(name, (1.0,) * 10, verified=verified) for verified in (True, False))
    assert scale_of(on_clean) is SCALES[name]
    assert scale_of(on_synthetic) is WITHOUT_CLEAN_IMAGES.get(name, SCALES[name])


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
    usual = SCALES["neural_cleanse"]
    assert usual.of_noise is not None
    of_noise = replace(usual.of_noise, comparable=3.5 * usual.of_noise.comparable)
    assert usual.of_side(8) == replace(usual, comparable=3.5 * usual.comparable, of_noise=of_noise)
    assert usual.of_side(27).comparable > usual.of_side(28).comparable == usual.comparable


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
    scale = PAIR_SCALES[name]
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
