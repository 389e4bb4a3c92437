"""Every hostile input by number: the exit code and the words that a scan of it ends with, and nothing left behind."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import rows_archives
import rows_container
import rows_pipeline
import rows_tensors
import torch
from table import Bench, Row, children, in_this_process

from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.worker import launch

torch.set_num_threads(1)
REPOSITORY = Path(__file__).parents[2]
ROWS: tuple[Row, ...] = (*rows_container.ROWS, *rows_archives.ROWS, *rows_tensors.ROWS, *rows_pipeline.ROWS)
MADE = [row for row in ROWS if row.make]
HELD = [row for row in ROWS if row.covered_by]
LAST = 92
SECONDS = 30
"""Far more than any of them takes on a busy machine."""


@pytest.mark.parametrize("row", MADE, ids=str)
def test_a_hostile_input(row: Row, bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    assert row.make
    if not row.own_process:
        bench.patch.setattr(launch, "run", in_this_process)
    row.make(bench)
    bench.write_policy()
    before, started = children(), time.monotonic()
    code = exits.run(root, ("scan", "model", "--policy=policy.yaml", "--no-publish", "--quiet", "--device=cpu"))
    shown = "".join(capfd.readouterr())
    assert time.monotonic() - started < SECONDS
    assert (code, row.words in shown) == (row.code, True), shown
    assert "Traceback" not in shown
    assert shown.count("\n") == 1
    assert shown[:-1].isprintable()
    assert not bench.marker.exists()
    assert not Path("payload-ran").exists()
    assert children() == before


@pytest.mark.parametrize("row", HELD, ids=str)
def test_an_input_that_another_test_holds(row: Row) -> None:
    for reference in row.covered_by:
        path, _, name = reference.partition("::")
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), reference


def test_no_input_is_missing() -> None:
    assert {row.number for row in ROWS} == set(range(1, LAST + 1))
    assert all(row.make or row.covered_by or row.reason for row in ROWS)
    assert len({str(row) for row in ROWS}) == len(ROWS)
    assert all(row.code for row in MADE), "no hostile input may pass"
