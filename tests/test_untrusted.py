"""Text of unknown origin: whatever goes in, one line without surprises comes out of every room's way of showing it."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.errors import UsageError
from backdoor_gate.mlflow_client import redacted
from backdoor_gate.policy import load
from backdoor_gate.scan.loading import naming
from backdoor_gate.sources import manifest
from backdoor_gate.untrusted import one_line
from backdoor_gate.worker import wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Control, format (bidirectional marks among them), surrogates, private use, unassigned, line and paragraph separators.
UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
ANY = st.one_of(
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Co", "Mn"])),
    st.text("\\'\"a \n\r\x85\u2028\u202e\x1b\ud800é"),
)
SHOWN: dict[str, Callable[[str], str]] = {
    "message": lambda text: one_line(text, 40),
    "ASCII message": lambda text: one_line(text, 40, ascii_only=True),
    "whole": lambda text: one_line(text, None),
    "worker": wire.plain,
    "name in an archive": naming.shown,
    "name of a file": manifest.shown,
    "tracking URI": redacted,
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
@given(ANY)
def test_nothing_unsafe_comes_out(shown: Callable[[str], str], raw: str) -> None:
    line = shown(raw)
    assert not {unicodedata.category(char) for char in line} & UNSAFE
    assert len(line.splitlines()) <= 1
    assert line.encode("utf-8").decode("utf-8") == line


@given(ANY, st.integers(3, 60), st.booleans())
def test_no_longer_than_asked(raw: str, limit: int, ascii_only: bool) -> None:
    line = one_line(raw, limit, ascii_only=ascii_only)
    assert len(line) <= limit
    assert line.isascii() or not ascii_only


@given(ANY, ANY)
def test_in_ascii_no_two_texts_look_alike(one: str, other: str) -> None:
    assert (one_line(one, None, ascii_only=True) == one_line(other, None, ascii_only=True)) == (one == other)


@pytest.mark.parametrize(
    ("raw", "line", "ascii_line"),
    [
        ("plain name-1.0 'x' \"y\"", "plain name-1.0 'x' \"y\"", "plain name-1.0 'x' \"y\""),
        ("größe", "größe", r"gr\xf6\xdfe"),
        ("a\x1b[31m\n\u202eb\ud800", r"a\x1b[31m\n\u202eb\ud800", r"a\x1b[31m\n\u202eb\ud800"),
        ("a\\nb", "a\\nb", "a\\\\nb"),
        ("x" * 20, "x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "…", "x" * 17 + "..."),
    ],
)
def test_examples(raw: str, line: str, ascii_line: str) -> None:
    limit = 20 if "x" * 20 in raw else None
    assert one_line(raw, limit) == line
    assert one_line(raw, limit, ascii_only=True) == ascii_line


def test_a_policy_key_shows_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text('version: 1\n"a\\x1b\\u202eb": 1\n', encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://user:pa/ss@host/db", "postgresql://***@host/db"),
        ("postgresql://user:p@ss@host/db", "postgresql://***@host/db"),
        ("postgresql://user:pa ss@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=u&password=hush", "postgresql://host/db?user=u&password=***"),
        ("mysql://host/db?sslPassword=hush&ssl=1", "mysql://host/db?sslPassword=***&ssl=1"),
        ("https://host/?token=hush", "https://host/?token=***"),
        ("s3://host/?aws_secret=hush", "s3://host/?aws_secret=***"),
        ("http://user@host and http://host", "http://***@host and http://host"),
        ("sqlite:////a@b/mlflow.db", "sqlite:////a@b/mlflow.db"),
        ("models:/digits@champion", "models:/digits@champion"),
    ],
)
def test_no_password_is_shown(uri: str, shown: str) -> None:
    assert redacted(uri) == shown
