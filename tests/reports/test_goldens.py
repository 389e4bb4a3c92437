"""What users and machines read, for each verdict, as files in tests/goldens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from samples import SAMPLES

from backdoor_gate.reports import json_v1, junit, markdown
from backdoor_gate.reports.console import verdict_view

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

by_verdict = pytest.mark.parametrize("verdict", SAMPLES)


@by_verdict
def test_json(verdict: str, golden: Callable[[str, str], None]) -> None:
    # How well a picture is compressed depends on the machine's zlib, the last digits of an embedding on its processor.
    text = re.sub(r'"png": "[^"]+"', '"png": "…"', json_v1.render(SAMPLES[verdict]()))
    golden(f"{verdict}.json", re.sub(r"-?\d+\.\d{10,}", lambda found: f"{float(found[0]):.9g}", text))


@by_verdict
def test_junit(verdict: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{verdict}.junit.xml", junit.render(SAMPLES[verdict]()))


@by_verdict
def test_markdown(verdict: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{verdict}.md", markdown.render(SAMPLES[verdict]()))


@by_verdict
def test_console(verdict: str, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    console = Console(
        width=100, color_system=None, force_terminal=False, record=True, file=(tmp_path / "log").open("w")
    )
    console.print(verdict_view(SAMPLES[verdict](), [("junit", "out/junit.xml"), ("json", "out/report.json")]))
    golden(f"{verdict}.txt", re.sub(r" +$", "", console.export_text(), flags=re.MULTILINE))
