"""`explain`: what a JSON report says in plain words, and what it refuses to read."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import HOSTILE, VERDICTS, blocked, hostile, inconclusive, passed, report

from backdoor_gate.errors import UsageError
from backdoor_gate.records import Decision, Suspicion, Verdict
from backdoor_gate.reports import json_v1, reading
from backdoor_gate.reports.explain import WIDTH, explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.records import AuditReport

MAX_LINES = 25
EVERY = {**VERDICTS, **{name: lambda text=text: hostile(text) for name, text in HOSTILE.items()}}
BLOCKED = json_v1.document(blocked())


def told(audit: AuditReport) -> str:
    return explain(reading.parse(json_v1.render(audit).encode("utf-8"), "r.json"))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_words(verdict: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{verdict}.explain.txt", told(VERDICTS[verdict]()) + "\n")


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_short_and_printable(make: Callable[[], AuditReport]) -> None:
    lines = told(make()).split("\n")
    assert len(lines) <= MAX_LINES
    assert all(len(line) <= WIDTH for line in lines)
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if "::" in line]


def test_one_reason_is_told_at_length() -> None:
    reason = "neural_cleanse: " + " ".join(f"word{number}" for number in range(50))
    alone, crowded = (
        told(replace(blocked(), decision=replace(blocked().decision, reasons=reasons)))
        for reasons in ((reason,), (reason,) * 3)
    )
    assert "word49" in alone
    assert "word49" not in crowded


def test_however_much_there_is_to_say_the_next_steps_are_said() -> None:
    reasons = (
        *(f"{cause} {'x' * 300}" for cause in ("timed out", "out of memory", "no trigger reached")),
        "isolation tier C",
        "not finite",
    )
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.WEAK, (), reasons, blocked().decision.detectors)
    lines = told(replace(report(decision), requested="m" * 300, candidate=None)).split("\n")
    assert 20 < len(lines) <= MAX_LINES
    assert "  and 2 more" in lines
    steps = lines[lines.index("What next") + 1 :]
    assert steps[0] == "  Do not promote this version: the gate could not tell."
    assert len([step for step in steps if not step.startswith("   ")]) == 5


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("neural_cleanse: timed out after 600 s", "Allow more time"),
        ("out of memory; raise limits.memory", "Allow more memory"),
        ("no trigger reached 5 of 10 classes (50%, at most 20%)", "Give more clean images"),
        ("the model's accuracy on the clean data is 9%, no better than guessing: check", "of this model's own task"),
        ("limits.isolation: sandbox unavailable: no Landlock (ENOSYS); policy needs tier B", "stricter isolation"),
        ("model output invalid: not finite", "Train the model again"),
        ("scanner process died (killed by signal 9)", "treat the candidate as hostile"),
        ("models:/x/1: no such version", "Check the model's name"),
        ("exported with a fixed batch of 1", "Export the model as the reason says"),
        ("something new", "Do what the reason says, and scan again."),
    ],
)
def test_advice_follows_the_reason(reason: str, advice: str) -> None:
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.NONE, (), (reason,))
    assert advice in " ".join(told(report(decision)).split("What next")[1].split())


def test_a_weak_suspicion_is_not_mistaken_for_a_missing_measurement() -> None:
    reasons = ("timed out", "weak suspicion, final_layer: anomaly index 6.7 (p = 0.0061)")
    decision = replace(inconclusive().decision, reasons=reasons)
    text = told(replace(inconclusive(), decision=decision))
    assert "Do what the reason says" not in text
    assert "Something stood out" in text


def test_safe_is_never_said() -> None:
    assert "safe" not in told(passed()).lower()


# ---------------------------------------------------------------------------------------------- reading


def refusal(content: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        reading.parse(content, "r.json")
    assert str(caught.value).startswith("r.json: ")
    return caught.value.what


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_report_of_ours_is_read_as_it_was_written(verdict: str) -> None:
    audit = VERDICTS[verdict]()
    assert reading.parse(json_v1.render(audit).encode("utf-8"), "r.json") == json_v1.document(audit)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schema_version": NaN}', "not JSON"),
        (b"null", "not a report of the gate"),
        (b"{}", "not a report of the gate"),
        (b'{"schema_version": "2"}', "schema version '2' is not known"),
        (b'{"schema_version": 1}', "schema version 1 is not known"),
        (b'{"schema_version": "1"}', "not a valid report: verdict"),
    ],
)
def test_what_is_no_report_is_refused(content: bytes, what: str) -> None:
    assert refusal(content) == what


@pytest.mark.parametrize(
    ("key", "value"),
    [("verdict", "pass"), ("suspect_classes", ["7"]), ("suspect_classes", [True]), ("reasons", "x"), ("detectors", {})],
)
def test_a_wrong_value_is_refused(key: str, value: object) -> None:
    assert refusal(json.dumps({**BLOCKED, key: value}).encode()).startswith(f"not a valid report: {key}")


def test_a_field_of_a_later_release_is_ignored() -> None:
    assert reading.parse(json.dumps({**BLOCKED, "later": 1}).encode(), "r.json") == BLOCKED


def test_files_that_are_missing_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        reading.read(tmp_path / "none.json")
    with pytest.raises(UsageError, match="not a regular file"):
        reading.read(tmp_path)
    with pytest.raises(UsageError, match="cannot be read: embedded null byte"):
        reading.read(Path("a\x00b"))
    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    (tmp_path / "large.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        reading.read(tmp_path / "large.json")


def paths(document: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value in a document."""
    nested = document if isinstance(document, dict) else dict(enumerate(document)) if isinstance(document, list) else {}
    return [place for key, value in nested.items() for place in ((*prefix, key), *paths(value, (*prefix, key)))]


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(paths(BLOCKED)), values)
def test_a_report_with_any_one_value_changed_is_explained_or_refused(place: tuple[Any, ...], value: object) -> None:
    document = copy.deepcopy(BLOCKED)
    parent: Any = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    try:
        found = reading.parse(json.dumps(document).encode(), "r.json")
    except UsageError:
        return
    assert len(explain(found).split("\n")) <= MAX_LINES
