"""Figures of class vectors: readable for two classes and a thousand, and never in the way of a report."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import HOSTILE, measured

from backdoor_gate.reports.plots import MANY_CLASSES, class_plot
from backdoor_gate.trigger_facts import Screening


def spread(classes: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.exp(np.random.default_rng(0).normal(-2, 0.3, classes)))


def labels(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


@pytest.mark.parametrize("classes", [2, 10, MANY_CLASSES, MANY_CLASSES + 1, 1000])
def test_the_suspect_is_named_whatever_the_number_of_classes(classes: int) -> None:
    values = (*spread(classes - 1), 0.001)
    plot = class_plot(measured("neural_cleanse", per_class=values, suspect_classes=(classes - 1,)))
    assert labels(plot.svg).count(f"class {classes - 1}") == 1
    assert len(re.findall('class="[^"]*fill-suspect', plot.svg)) >= 2
    assert f"Standing apart: class {classes - 1} with 0.001." in plot.words
    assert len(plot.svg) < 150_000


def test_few_classes_are_in_their_order_and_many_in_that_of_their_values() -> None:
    assert "class" in labels(class_plot(measured("neural_cleanse", per_class=spread(MANY_CLASSES))).svg)
    many = labels(class_plot(measured("neural_cleanse", per_class=spread(MANY_CLASSES + 1))).svg)
    assert "rank of the class, smallest value first" in many


def test_classes_without_a_trigger_are_marked_and_told() -> None:
    plot = class_plot(measured("neural_cleanse", per_class=(0.1, None, 0.2, None)))
    assert plot.words.endswith("No trigger was found for class 1, 3.")
    assert labels(plot.svg)[:4] == ["0", "1", "2", "3"]


def limit_of(**changes: object) -> tuple[float, float]:
    """Return how far down the limit's label and the suspect's are."""
    svg = class_plot(measured("neural_cleanse", suspect_classes=(0,), **changes)).svg
    heights = {element.text: float(element.get("y")) for element in ET.fromstring(svg).iter("text")}
    return heights["limit"], heights["class 0"]


def test_the_limit_lies_between_median_and_suspect_only_if_the_index_is_beyond_it() -> None:
    values = (0.01, 0.1, 0.11, 0.09, 0.1)
    limit, suspect = limit_of(per_class=values, anomaly_index=9.0, threshold=4.0)
    assert limit < suspect
    limit, suspect = limit_of(per_class=values, anomaly_index=3.0, threshold=4.0)
    assert limit > suspect


def test_nothing_measured_is_no_figure() -> None:
    assert class_plot(measured("neural_cleanse", per_class=(None, None))) is None
    assert class_plot(measured("neural_cleanse", per_class=())) is None


def test_the_same_result_gives_the_same_bytes() -> None:
    assert class_plot(measured("neural_cleanse")) == class_plot(measured("neural_cleanse"))


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_no_name_becomes_markup(name: str) -> None:
    plain = class_plot(measured("name", unit="unit"))
    found = class_plot(measured(name, unit=name))
    assert [element.tag for element in ET.fromstring(found.svg).iter()] == [
        element.tag for element in ET.fromstring(plain.svg).iter()
    ]


numbers = st.none() | st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-300, 1e300, math.inf, -math.inf, math.nan])


@settings(max_examples=40, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=8), st.floats() | st.none(), st.floats() | st.none())
def test_any_numbers_give_a_figure_without_nonsense(
    values: list[float | None], index: float | None, threshold: float | None
) -> None:
    result = measured("neural_cleanse", per_class=tuple(values), suspect_classes=(0,))
    plot = class_plot(replace(result, anomaly_index=index, threshold=threshold))
    finite = [value for value in values if value is not None and math.isfinite(value)]
    assert (plot is None) == (not finite)
    if plot:
        assert not re.search(r"\bnan\b|\binf\b", plot.svg)


def test_classes_that_were_left_out_are_not_said_to_have_no_trigger() -> None:
    searched = {0: 0.01, 1: 0.02, 2: 0.03, 50: 0.2, 60: 0.4}
    values = tuple(searched.get(k) for k in range(100))
    left_out = tuple(k for k in range(100) if k not in searched and k != 70)
    screening = Screening(left_out=left_out, drawn=(50, 60, 70))
    plot = class_plot(measured("neural_cleanse", per_class=values, screening=screening))
    assert plot is not None
    assert "of 6 classes: 0.01 to 0.4, median 0.3 of those drawn at random." in plot.words
    assert "94 of 100 classes had only a short search." in plot.words
    assert "No trigger was found for class 70." in plot.words
