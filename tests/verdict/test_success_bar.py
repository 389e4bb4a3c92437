"""What the scan calls a working trigger, and what the verdict does: one bar, in rooms that do not know each other."""

from __future__ import annotations

from backdoor_gate.scan.triggers.replay import LEAST_SUCCESS
from backdoor_gate.verdict.confirm import WORKING_SUCCESS


def test_a_trigger_that_works_in_the_scan_works_in_the_verdict() -> None:
    assert LEAST_SUCCESS == WORKING_SUCCESS
