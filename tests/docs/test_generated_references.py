"""The generated tables of the documents are what the program says now; `make golden` renews them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from references import detector_summary, policy_keys
from snippets import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(("document", "table"), [("policy.md", policy_keys), ("detectors.md", detector_summary)])
def test_a_generated_table_is_current(request: pytest.FixtureRequest, document: str, table: Callable[[], str]) -> None:
    path = ROOT / "docs" / document
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {table.__name__}: written by `make golden` -->\n", f"\n<!-- end {table.__name__} -->\n"
    assert text.count(begin) == text.count(end) == 1
    if request.config.getoption("--renew-goldens"):
        text = re.sub(f"(?<={re.escape(begin)}).*(?={re.escape(end)})", lambda _: table(), text, flags=re.DOTALL)
        path.write_text(text, encoding="utf-8")
    assert text.partition(begin)[2].partition(end)[0] == table()
