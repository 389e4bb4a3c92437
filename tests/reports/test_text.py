"""The sanitiser: whatever goes in, one visible line comes out, and no sink reads any of it as its own syntax."""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from samples import HOSTILE

from backdoor_gate.reports import text

if TYPE_CHECKING:
    from pathlib import Path

XML_CHARACTERS = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
PUNCTUATION = st.text("\\`*_[]()<>|~&$#@!:/-+=.,1a \n\x1b\u202e\ud800")
ANY = st.one_of(
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Mn"])),
    PUNCTUATION,
    st.sampled_from([*HOSTILE.values()]),
)


@given(ANY)
def test_clean_leaves_one_visible_line(raw: str) -> None:
    shown = text.clean(raw, None)
    assert XML_CHARACTERS.fullmatch(shown)
    assert not {unicodedata.category(character) for character in shown} & INVISIBLE
    assert not set(shown) & BIDI
    assert unicodedata.is_normalized("NFC", shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown.splitlines()) <= 1


@given(ANY, st.integers(1, 40))
def test_clean_twice_is_clean_once_and_no_longer_than_asked(raw: str, limit: int) -> None:
    shown = text.clean(raw, limit)
    assert len(shown) <= limit
    assert text.clean(shown, limit) == shown


@given(ANY)
def test_what_is_cleaned_survives_xml(raw: str) -> None:
    element = ET.Element("a", {"b": text.clean(raw)})
    element.text = text.clean(raw)
    read = ET.fromstring(ET.tostring(element, encoding="unicode"))
    assert (read.text or "") == text.clean(raw)
    assert read.get("b") == text.clean(raw)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain name-1.0 é", "plain name-1.0 é"),
        ("e\u0301", "é"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\x85", r"a\x0ab\x09c\x85"),
        ("\u202e\u2028", r"\u202e\u2028"),
        ("\ud800", r"\ud800"),
        ("\U0001fffe\U000e0041", r"\U0001fffe\U000e0041"),
        ("x" * 201, "x" * 199 + "…"),
        ("x" * 200, "x" * 200),
    ],
)
def test_clean_examples(raw: str, shown: str) -> None:
    assert text.clean(raw) == shown


# ---------------------------------------------------------------------------------------------- Markdown

GITHUB_LIKE = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rendered_as_text(source: str, code: bool = False) -> str:
    """Return what Markdown shows, and fail where anything but text (or code) comes out."""
    shown = ""
    for token in GITHUB_LIKE.parseInline(source)[0].children or []:
        assert token.type in ({"code_inline"} if code else {"text", "text_special"}), token
        shown += token.content
    return shown


@given(ANY)
def test_markdown_text_renders_as_itself(raw: str) -> None:
    shown = rendered_as_text(text.markdown_text(raw, None)).replace("@\u200b", "@")
    assert shown == text.clean(raw, None).strip()


@given(ANY)
def test_markdown_text_starts_no_block_and_leaves_no_cell(raw: str) -> None:
    plain = text.markdown_text(raw)
    kinds = [token.type for token in GITHUB_LIKE.parse(f"- {plain or 'x'}")]
    assert kinds == [
        "bullet_list_open", "list_item_open", "paragraph_open", "inline", "paragraph_close", "list_item_close",
        "bullet_list_close",
    ]  # fmt: skip
    row = GITHUB_LIKE.render(f"| a | b |\n|---|---|\n| {plain} | end |")
    assert re.findall("<td>(.*)</td>", row)[-1] == "end"
    assert row.count("<td>") == 2
    assert "<script" not in row


@given(ANY)
def test_markdown_code_shows_every_character(raw: str) -> None:
    assert rendered_as_text(text.markdown_code(raw, None), code=True) == (text.clean(raw, None) or " ")


@pytest.mark.parametrize("raw", ["http://x.org", "ftp://x", "WWW.x.org", "@someone", "a@b.org"])
def test_no_link_or_mention_in_markdown_text(raw: str) -> None:
    assert not re.search(r"(?<!\\)://|www\.|@\w", text.markdown_text(raw), re.IGNORECASE)


def test_ordinary_text_stays_readable_in_markdown() -> None:
    plain = "class 7: neural_cleanse found a patch of 0.4 % (98 %); see model.pth"
    assert text.markdown_text(plain) == plain


# ---------------------------------------------------------------------------------------------- the other sinks


@given(ANY)
def test_workflow_commands_are_not_left(raw: str) -> None:
    data, value = text.workflow_data(raw), text.workflow_property(raw)
    assert not re.search(r"[\r\n]|%(?!25)", data)
    assert not re.search(r"[\r\n:,]|%(?!25|3A|2C)", value)
    assert data.replace("%25", "%") == text.clean(raw, text.REASON_LIMIT)


@given(ANY)
def test_github_output_is_one_value(raw: str) -> None:
    first, value, last, rest = text.github_output("verdict", raw).split("\n")
    name, delimiter = first.split("<<")
    assert (name, value, rest) == ("verdict", text.clean(raw, None), "")
    assert last == delimiter
    assert delimiter not in value
    assert delimiter != text.github_output("verdict", raw).split("\n")[0].split("<<")[1]


@given(ANY)
def test_terminal_has_no_sequence_and_no_command(raw: str) -> None:
    shown = text.terminal(raw)
    assert "\x1b" not in shown
    assert "::" not in shown
    assert "##[" not in shown


@given(ANY, ANY)
def test_slug_is_a_file_name_of_its_own(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", text.slug(one))
    assert (text.slug(one) == text.slug(other)) == (one == other)


@pytest.mark.parametrize("raw", ["", ".", "..", "../x", "/", "-rf", "CON", "nul.png", *HOSTILE.values()])
def test_slug_of_awkward_names(raw: str, tmp_path: Path) -> None:
    path = tmp_path / text.slug(raw)
    path.write_text("x")
    assert [found.name for found in tmp_path.iterdir()] == [text.slug(raw)]
    assert not re.match(r"(con|nul)(\.|$)", text.slug(raw), re.IGNORECASE)


def test_slug_keeps_an_ordinary_name() -> None:
    assert text.slug("neural_cleanse") == "neural_cleanse"
