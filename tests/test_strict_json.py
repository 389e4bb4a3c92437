"""JSON that may be hostile: what it says, once and for all readers alike, or a refusal."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate import strict_json
from backdoor_gate.strict_json import DuplicateNameError, JsonError, NotFiniteError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),  # a lone surrogate cannot be written as UTF-8 at all
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\x00é", max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_reads_what_json_wrote(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert strict_json.parse(text) == value
    assert strict_json.parse(text.encode()) == value


@pytest.mark.parametrize(
    ("data", "kind", "rule"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', DuplicateNameError, "^a$"),
        (b'[{"a": {"b": 1, "\\u0062": 2}}]', DuplicateNameError, "^b$"),
        (b"[NaN]", NotFiniteError, "NaN is not JSON"),
        (b"-Infinity", NotFiniteError, "-Infinity is not JSON"),
        (b'{"a": 1e999}', NotFiniteError, "a number is too large"),
        (b"[" * 100_000, JsonError, "nested too deeply"),
        (b"9" * 100_000, JsonError, "not valid JSON"),
        (b"\xff", JsonError, "not valid JSON"),
        ("{}".encode("utf-16"), JsonError, "not valid JSON"),
        (b"\xef\xbb\xbf{}", JsonError, "not valid JSON"),
        (b"{}{}", JsonError, "not valid JSON"),
        (b"", JsonError, "not valid JSON"),
    ],
)
def test_refuses(data: bytes, kind: type[JsonError], rule: str) -> None:
    with pytest.raises(kind, match=rule) as caught:
        strict_json.parse(data)
    assert type(caught.value) is kind


@given(st.binary(max_size=200))
def test_fails_in_one_way_only(data: bytes) -> None:
    with contextlib.suppress(JsonError):
        strict_json.parse(data)


def test_a_stricter_reader_adds_rules_of_its_own() -> None:
    seen = []

    def refuse(_: str) -> int:
        raise KeyError("too many digits")

    assert strict_json.parse('{"a": [{"b": 1}]}', check=lambda found: seen.append(sorted(found))) == {"a": [{"b": 1}]}
    assert seen == [["b"], ["a"]]
    with pytest.raises(KeyError):
        strict_json.parse("1", integer=refuse)
