"""The table of every class."""

from __future__ import annotations

import pytest
from rich.console import Console
from samples import HOSTILE, blocked, hostile, refused

from backdoor_gate.reports.class_table import class_view


def shown(audit: object, width: int = 140) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(class_view(audit))
    return capture.get().splitlines()


def test_a_row_per_class_and_a_column_per_detector_that_measured() -> None:
    lines = shown(blocked())
    assert lines[0].split() == ["max_margin", "neural_cleanse", "spectral_inversion", "warp_inversion"]
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == [str(k) for k in range(10)]
    assert rows[7] == ["7", "0.17", "0.17", "(98%)", "0.17", "(99%)", "0.17", "(99%)"]
    assert rows[9] == ["9", "–", "–", "–", "–"]


def test_nothing_measured() -> None:
    assert shown(refused()) == ["no class was measured"]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    assert all(line.isprintable() for line in shown(hostile(name)))
