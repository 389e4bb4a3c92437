"""JUnit XML of a run over a registry: one suite per model, one test case per version."""

from __future__ import annotations

from datetime import UTC
from itertools import groupby
from typing import TYPE_CHECKING

from junit_xml import TestCase, TestSuite

from backdoor_gate.reports.junit_document import document
from backdoor_gate.reports.rescan.rows import State, row
from backdoor_gate.reports.text import REASON_LIMIT, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.fleet import RescanReport, VersionResult

_FAILED = (State.BLOCKS, State.MISSING)


def render(report: RescanReport) -> str:
    """Return the JUnit document of one run, valid against Jenkins' `junit-10.xsd`; models by name, newest first."""
    results = sorted(report.results, key=lambda result: (result.version.name, -int(result.version.version)))
    models = groupby(results, key=lambda result: result.version.name)
    suites = [_suite(name, tuple(found), report) for name, found in models]
    return document(suites, failed=sum(row(result).state in _FAILED for result in results))


def _suite(name: str, results: Sequence[VersionResult], report: RescanReport) -> TestSuite:
    properties = {
        "registry": report.registry,
        "policy": report.policy.path,
        "policy_digest": report.policy.digest,
        "detector_pack": report.detector_pack,
        "tool_version": report.tool_version,
        "exit_code": str(report.exit_code),
    }
    return TestSuite(
        f"backdoor-gate models:/{clean(name)}",
        [_case(result) for result in results],
        timestamp=report.started_at.astimezone(UTC).isoformat(timespec="seconds"),
        properties={f"backdoor_gate.{key}": clean(value, REASON_LIMIT) for key, value in properties.items()},
    )


def _case(result: VersionResult) -> TestCase:
    shown = row(result)
    used = f" ({shown.used_as})" if shown.used_as else ""
    case = TestCase(
        clean(f"version {result.version.version}{used}"), classname=clean(shown.uri), elapsed_sec=result.seconds
    )
    said = clean(": ".join(part for part in (shown.answer, shown.said) if part), REASON_LIMIT)
    # GitLab shows the element's content and not its message, so the body repeats it.
    body = f"{said}\nscanned because: {clean(shown.why, REASON_LIMIT)}" if result.reason else said
    match shown.state:
        case State.BLOCKS:
            case.add_failure_info(message=said, output=body, failure_type="backdoor")
        case State.MISSING:
            case.add_error_info(message=said, output=body, error_type="unmeasured")
        case State.DUE:
            case.add_skipped_info(message=clean(f"due: {shown.why}", REASON_LIMIT), output=clean(shown.why))
        case _:
            case.stdout = body
    return case
