"""Frames, strict JSON and safe text."""

from __future__ import annotations

import contextlib
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.errors import WorkerError
from backdoor_gate.worker import wire

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    # A lone surrogate cannot be written as UTF-8 at all.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_strict_json_reads_what_json_wrote(value: object) -> None:
    assert wire.strict_json(json.dumps(value).encode()) == value
    assert wire.strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (b'{"a": NaN}', "not finite"),
        (b'{"a": -Infinity}', "not finite"),
        (b'{"a": 1e999}', "not finite"),
        (b'{"a": 1, "a": 2}', "duplicate key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate key"),
        (b'{"\\ud800": 1}', "unknown keys"),
        (json.dumps({f"k{i}": 0 for i in range(33)}).encode(), "unknown keys"),
        (b"1" * 19, "too many digits"),
        (b"9" * 100_000, "too many digits"),
        (b"[" * 17 + b"]" * 17, "nested deeper"),
        (b"[" * 1_000_000, "nested deeper"),
        (b'{"a":' * 1_000_000, "nested deeper"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "not JSON"),
        (b"{}{}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'"open', "not JSON"),
    ],
)
def test_strict_json_refuses(payload: bytes, rule: str) -> None:
    with pytest.raises(WorkerError, match=rf"^malformed result: .*{rule}"):
        wire.strict_json(payload)


def test_lists_and_mappings_take_more_memory_than_text_and_are_bounded_by_it() -> None:
    few = b"[" + b",".join([b"[]"] * (wire.FEW_CONTAINERS - 1)) + b"]"
    assert len(wire.strict_json(few)) == wire.FEW_CONTAINERS - 1  # type: ignore[arg-type]
    of_classes = [{"words": "no wave", "source": None}] * 20_000
    assert wire.strict_json(json.dumps(of_classes, separators=(",", ":")).encode()) == of_classes
    for least in (b"[]", b"{}", b'{"a":1}', b"[0,1]"):
        with pytest.raises(WorkerError, match="more lists and mappings than a result of its size has"):
            wire.strict_json(b"[" + b",".join([least] * 5000) + b"]")


def test_brackets_in_strings_are_no_nesting() -> None:
    text = "[" * 1000 + '\\"' + "{" * 1000
    assert wire.strict_json(json.dumps([text]).encode()) == [text]


@pytest.mark.parametrize(
    "payload", [b'"' + b'\\"' * 1_000_000, b'"\\' * 1_000_000, b'"' * 2_000_001, b"\\" * 2_000_000]
)
def test_depth_check_takes_linear_time(payload: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerError):
        wire.strict_json(payload)
    assert time.monotonic() - started < 2


@given(st.binary(max_size=200))
def test_strict_json_fails_in_one_way_only(payload: bytes) -> None:
    with contextlib.suppress(WorkerError):
        wire.strict_json(payload)


@given(st.text(), st.integers(2, 60))
def test_plain_is_one_safe_line(text: str, limit: int) -> None:
    shown = wire.plain(text, limit)
    assert len(shown) <= limit
    assert shown == "" or shown.isprintable()
    assert "##[" not in shown
    assert not shown.startswith("::")
    assert wire.plain(shown, limit) == shown


def test_plain_shows_what_was_there() -> None:
    assert wire.plain("a\x1b[31m\n\u202eb\ud800 é") == r"a\x1b[31m\n\u202eb\ud800 é"
    assert wire.plain("::set-output name=x::y ##[error]") == r"\::set-output name=x::y ##\[error]"
    assert wire.plain("x" * 600) == "x" * 499 + "…"


@given(st.lists(st.tuples(st.sampled_from([b"P", b"R", b"A"]), st.binary(max_size=40))), st.integers(1, 7))
def test_frames_survive_any_cutting(frames: list[tuple[bytes, bytes]], step: int) -> None:
    receiver, sender = os.pipe()
    for kind, payload in frames:
        wire.write_frame(sender, kind, payload)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        data = pipe.read()
    reader = wire.FrameReader(lambda _: 40)
    heard = [frame for at in range(0, len(data), step) for frame in reader.feed(data[at : at + step])]
    assert heard == frames
    assert not reader.pending


def test_a_frame_is_refused_by_its_header() -> None:
    reader = wire.FrameReader(lambda _: 10)
    with pytest.raises(WorkerError, match="larger than allowed"):
        list(reader.feed(b"R\x00\x00\x00\x0b"))
