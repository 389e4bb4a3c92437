"""Annotations: one workflow command a finding, none that a name could add."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import HOSTILE, VERDICTS, blocked, hostile, passed, refused, report

from backdoor_gate.records import Decision, DetectorResult, Status, Suspicion, Verdict
from backdoor_gate.reports import Format, render
from backdoor_gate.reports.github_annotations import LIMIT
from backdoor_gate.reports.text import clean

COMMAND = re.compile(r"::error title=([^,:]*),file=([^,:]*)::(.*)")


def commands(audit: object) -> list[tuple[str, str, str]]:
    """Read the commands as the runner does: properties up to the next `,` or `:`, percent-encoded."""
    found = []
    for line in render(audit, Format.ANNOTATIONS).splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        parts = (re.sub("%(25|3A|2C)", lambda m: chr(int(m[1], 16)), part) for part in match.groups())
        found.append(tuple(parts))
    return found


def test_a_pass_has_none() -> None:
    assert render(passed(), Format.ANNOTATIONS) == ""


def test_one_for_each_detector_that_failed() -> None:
    assert commands(blocked()) == [
        (
            "BLOCK: neural_cleanse",
            "gate.yaml",
            (
                "class 7: a patch of 0.4 % of the image sends 98 % of held-out images there; "
                "again 0.0041 from another seed, 97% of the other half"
            ),
        )
    ]
    assert [title for title, _, _ in commands(refused())] == ["REFUSED: candidate"]


def test_no_more_than_github_keeps() -> None:
    results = tuple(DetectorResult(f"d{k}", True, Status.INCONCLUSIVE, "timed out") for k in range(LIMIT + 5))
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.NONE, (), ("timed out",), results)
    assert len(commands(replace(report(decision), expected_detectors=()))) == LIMIT


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_stay_in_their_place(name: str) -> None:
    ((title, _, message),) = commands(hostile(name))
    assert title == clean(f"BLOCK: {name}")
    assert message == clean(name, 1000)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_anything_but_a_pass_has_at_least_one(verdict: str) -> None:
    assert bool(commands(VERDICTS[verdict]())) == (verdict != "pass")


RESULTS = st.builds(
    DetectorResult,
    name=st.sampled_from("abcd"),
    required=st.booleans(),
    status=st.sampled_from(Status),
    reason=st.text(max_size=5),
    blocking=st.booleans(),
)


@given(st.sampled_from(Verdict), st.lists(RESULTS, max_size=6), st.lists(st.sampled_from("abcde")))
def test_a_detector_has_one_at_most(verdict: Verdict, results: list[DetectorResult], names: list[str]) -> None:
    decision = Decision(verdict, Suspicion.NONE, (), ("why",), tuple(results))
    titles = [title for title, _, _ in commands(replace(report(decision), expected_detectors=tuple(names)))]
    assert len(set(titles)) == len(titles)
