"""Markdown: verdict first, and no name becomes markup."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from samples import HOSTILE, VERDICTS, blocked, hostile

from backdoor_gate.reports import markdown
from backdoor_gate.reports.text import clean

GITHUB_LIKE = MarkdownIt("commonmark").enable(["table", "strikethrough"])
EXPECTED_HTML = {
    "<details>",
    "</details>",
    "<summary>What else the detectors said</summary>",
    "<summary>Provenance</summary>",
}


def shape(document: str) -> list[str]:
    """Return the kinds of blocks, and of everything inline that is not plain text, a sign or a code span."""
    found = []
    for token in GITHUB_LIKE.parse(document):
        found.append(token.type)
        found += [child.type for child in token.children or [] if child.type not in {"text", "text_special"}]
    return found


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_change_nothing_of_the_structure(name: str) -> None:
    assert shape(markdown.render(hostile(name))) == shape(markdown.render(hostile("name")))


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_bring_no_html(name: str) -> None:
    document = markdown.render(hostile(name))
    html = [token.content for token in GITHUB_LIKE.parse(document) if token.type == "html_block"]
    assert {line for block in html for line in block.splitlines()} <= EXPECTED_HTML
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", document)


def test_the_name_is_in_the_first_line() -> None:
    heading = GITHUB_LIKE.parse(markdown.render(hostile(HOSTILE["markup"])))[1]
    assert heading.children[1].content == clean(HOSTILE["markup"])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_comes_first_then_the_decisive_reason(verdict: str) -> None:
    audit = VERDICTS[verdict]()
    lines = [line for line in markdown.render(audit).splitlines() if line]
    assert verdict.upper() in lines[0]
    assert audit.decision.reasons[0].lower() in lines[1].lower() or lines[2] == f"- {audit.decision.reasons[0]}"


def test_the_table_has_a_cell_per_column_in_each_row() -> None:
    html = GITHUB_LIKE.render(markdown.render(blocked()))
    assert html.count("<tr>") == 6
    assert {row.count("<td") for row in html.split("<tr>")[2:]} == {8}
    assert "&lt;1e-12" in html


def test_safe_is_never_said() -> None:
    assert not re.search(r"\bsafe\b", markdown.render(VERDICTS["pass"]()), re.IGNORECASE)
