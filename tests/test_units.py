"""Durations and sizes: what is read, what is written, and that both agree."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("10m", 600), ("1h", 3600), ("1.5h", 5400), ("90d", 7776000)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("512MiB", 512 << 20), ("8GiB", 8 << 30), ("1.5 KiB", 1536)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "-1m", "+1m", "1e3s", "10 minutes", "10M", "1.m", " 1m", "1m ", "1m\n", "١m", "inf s", "1m30s"],
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as"):
        parse_duration(text)


def test_a_duration_may_have_a_lower_bound() -> None:
    assert parse_duration("1s", least=1) == 1
    with pytest.raises(ValueError, match=r"^must be at least 1s$"):
        parse_duration("0.999s", least=1)


@pytest.mark.parametrize("text", ["", "8", "8G", "8GB", "8gib", "-8GiB", "8 GiB "])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size such as"):
        parse_size(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_whole_seconds_survive_the_round_trip(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(0, 10**9).map(lambda thousandths: thousandths / 1000))
def test_milliseconds_survive_the_round_trip(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@settings(deadline=None)
@given(st.integers(0, 1 << 48))
def test_bytes_survive_the_round_trip(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_the_largest_whole_unit_is_written() -> None:
    assert [format_duration(each) for each in (0, 90, 600, 7200, 86400, 0.25)] == [
        "0s",
        "90s",
        "10m",
        "2h",
        "1d",
        "0.25s",
    ]
    assert [format_size(each) for each in (0, 1000, 1 << 20, 3 << 30)] == ["0B", "1000B", "1MiB", "3GiB"]
