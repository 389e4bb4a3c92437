"""The limits that users read are the limits that judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.verdict.scales import PAIR_SCALES, SCALES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text("utf-8")


def test_every_detector_has_a_scale() -> None:
    assert set(SCALES) | set(PAIR_SCALES) == set(BY_NAME)


@pytest.mark.parametrize("name", [name for name in SCALES if name != "final_layer"])
def test_the_document_states_every_limit(name: str) -> None:
    scale = SCALES[name]
    (row,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}` | "))
    limits = (scale.absolute, scale.absolute_few, scale.of_median, scale.of_runner_up, scale.above_runner_up)
    words = f"{row} ".replace(",", " ").replace("(", " ")
    for limit in limits:
        assert limit is None or f" {limit:g} " in words, f"{limit} is not in {row!r}"


@pytest.mark.parametrize("name", PAIR_SCALES)
def test_the_document_states_the_limits_of_pairs(name: str) -> None:
    (row,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}` | "))
    scale = PAIR_SCALES[name]
    for limit in (scale.alone, scale.apart, scale.together, scale.largest):
        assert f" {limit:g} " in f"{row} ".replace(",", " ").replace(";", " "), f"{limit} is not in {row!r}"


def test_the_document_states_what_bears_out_a_margin() -> None:
    (share,) = {scale.supports for scale in SCALES.values() if scale.supports is not None}
    assert f"at most {share:g} of the" in " ".join(DOCUMENT.split())
