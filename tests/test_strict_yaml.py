"""The YAML reader for files that may be hostile."""

from __future__ import annotations

import math
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.strict_yaml import MAX_DEPTH, MAX_EVENTS, StrictYamlError, core_scalar, read


def test_scalars_stay_text_unless_a_schema_is_given() -> None:
    text = b"a: 1\nb: ~\nc: '~'\nd: [no, 2026-11-01]\n"
    assert read(text).value == {"a": "1", "b": None, "c": "~", "d": ["no", "2026-11-01"]}


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("010", 10),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        ("1e+9999", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("12e45", "12e45"),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2026-11-01", "2026-11-01"),
        (".", "."),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_core_schema(scalar: str, value: object) -> None:
    read_value = read(f"key: {scalar}".encode(), core_scalar).value
    assert read_value == {"key": value}
    assert isinstance(read_value, dict)
    assert type(read_value["key"]) is type(value)


def test_not_a_number_is_a_number() -> None:
    value = read(b"[.nan, .NaN]", core_scalar).value
    assert isinstance(value, list)
    assert all(math.isnan(each) for each in value)


def test_lines_are_those_of_keys_and_items() -> None:
    lines = read(b"# comment\na:\n  b: 1\n\n  c:\n    - x\n    -\n      d: 2\n").lines
    assert lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 8,
        ("a", "c", 1, "d"): 8,
    }


def test_an_empty_file_has_no_value() -> None:
    assert read(b"# nothing\n").value is None


@pytest.mark.parametrize(
    ("data", "rule", "line"),
    [
        (b"\xff\xfe", "not UTF-8 YAML", None),
        (b"a: \x00", "not UTF-8 YAML", None),
        (b"x" * (1 << 20) + b"x", "larger than 1 MiB", None),
        (b"a: 1\na: 2", "duplicate key 'a'", 2),
        (b"a:\n  b: 1\n  'b': 2", "duplicate key 'b'", 3),
        (b"a: &x 1\nb: *x", "YAML aliases not allowed", 1),
        (b"a: 1\nb: *x", "YAML aliases not allowed", 2),
        (b"a: !!python/object/apply:os.system [x]", "YAML tag refused", 1),
        (b"a: !!str 1", "YAML tag refused", 1),
        (b"a: ! 1", "YAML tag refused", 1),
        (b"a:\n  <<: {b: 1}", "a key is not plain text", 2),
        (b"[1, 2]: 3", "a key is not plain text", 1),
        (b"a: 1\n---\nb: 2", "more than one document", 2),
        (b"a: b: c", "not valid YAML: mapping values are not allowed here", 1),
        (b"a: [1", "not valid YAML: expected ',' or ']', but got '<stream end>'", 1),
        (b"a: '", "not valid YAML: found unexpected end of stream", 1),
        (b"[" * 100, f"nested more than {MAX_DEPTH} levels deep", 1),
        (b"\n" + b"[1, " * 100_000, f"nested more than {MAX_DEPTH} levels deep", 2),
        (b"- a\n" * MAX_EVENTS, f"more than {MAX_EVENTS} YAML tokens", 19998),
    ],
)
def test_what_is_refused(data: bytes, rule: str, line: int | None) -> None:
    started = time.process_time()
    with pytest.raises(StrictYamlError) as caught:
        read(data)
    assert (caught.value.rule, caught.value.line) == (rule, line)
    assert time.process_time() - started < 5


@settings(deadline=None)
@given(st.one_of(st.binary(), st.text(alphabet="ab:-[]{}&*!|>#'\"? \n\t,").map(str.encode)))
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    try:
        document = read(data, core_scalar)
    except StrictYamlError as error:
        rule = error.rule
    else:
        rule = ""
        assert document.value is None or document.lines[()] >= 1
    assert rule.isprintable()


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10).filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(plain)
def test_what_a_dumper_writes_is_read_back(value: object) -> None:
    written = yaml.safe_dump(value)
    if "!!" in written or "&" in written:
        return
    assert read(written.encode(), core_scalar).value == value
