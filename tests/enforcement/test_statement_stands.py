"""What the gated store lets take the place of a signed statement: a newer one about the same version, nothing else."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.errors import OutputError
from backdoor_gate.lifecycle.promote import promote
from backdoor_gate.lifecycle.registry import Registry
from backdoor_gate.publishers.attestation import keys
from backdoor_gate.publishers.attestation.signer import Signer
from backdoor_gate.publishers.mlflow import STATEMENT, VERDICT, MlflowPublisher
from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlflow.tracking import MlflowClient
    from support.promotion import Pipeline

    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.records import AuditReport

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
STANDS = "backdoor-gate: change of the signed statement refused: that of "
OLDER = "backdoor-gate: change of the signed statement refused: it is of "


def published(
    pipeline: Pipeline, reference: Reference, verdict: Verdict, ago: timedelta, scan_id: str = "feed"
) -> AuditReport:
    """Publish a verdict of an earlier hour through the gated store, as a gate on its server does."""
    passed = pipeline.passed(reference, scan_id=scan_id, scanned_at=NOW - ago)
    report = replace(passed, decision=replace(passed.decision, verdict=verdict))
    publisher = MlflowPublisher(pipeline.uri, f"gated+{pipeline.uri}", sign=Signer(pipeline.key))
    publisher.begin(reference, scan_id)
    publisher.finish(reference, report)
    return report


def sealed(pipeline: Pipeline, report: AuditReport, key: keys.SigningKey | None = None) -> str:
    return Signer(key or pipeline.key)(report) or ""


def refused(action: Callable[[], object]) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with pytest.raises(MlflowException) as caught:
        action()
    assert caught.value.error_code == "PERMISSION_DENIED"
    assert str(caught.value.message).isprintable()
    return str(caught.value.message)


def put(gated: MlflowClient, reference: Reference, envelope: str, key: str = STATEMENT) -> None:
    gated.set_model_version_tag(reference.name, reference.version, key, envelope)


@pytest.fixture
def blocked(pipeline: Pipeline, gated: MlflowClient, name: str) -> tuple[Reference, str, str]:
    """A version that passed two hours ago and was blocked an hour ago; and both statements."""
    assert gated
    reference = pipeline.register(name)
    first = published(pipeline, reference, Verdict.PASS, 2 * HOUR, "first")
    second = published(pipeline, reference, Verdict.BLOCK, HOUR, "second")
    assert pipeline.tags(reference)[STATEMENT] == sealed(pipeline, second)
    return reference, sealed(pipeline, first), sealed(pipeline, second)


def test_an_older_pass_does_not_come_back(
    pipeline: Pipeline, gated: MlflowClient, blocked: tuple[Reference, str, str]
) -> None:
    reference, older, newer = blocked
    told = refused(lambda: put(gated, reference, older))
    assert told.startswith(OLDER)
    assert told.endswith("; scan it again, and if it was scanned just now, set the clock of that machine")
    same_moment = pipeline.passed(reference, scanned_at=NOW - HOUR)
    assert refused(lambda: put(gated, reference, sealed(pipeline, same_moment))).startswith(OLDER)
    put(gated, reference, "PASS", VERDICT)
    assert pipeline.tags(reference)[STATEMENT] == newer
    assert "the result is BLOCK, not PASS" in refused(
        lambda: gated.set_registered_model_alias(reference.name, "champion", "1")
    )


def test_nothing_makes_room_for_it(
    pipeline: Pipeline, gated: MlflowClient, blocked: tuple[Reference, str, str], tmp_path: Path
) -> None:
    reference, older, newer = blocked
    other = pipeline.register(reference.name)
    later = pipeline.passed(reference, scanned_at=NOW)
    candidate = later.candidate
    assert candidate
    unbound = replace(later, candidate=replace(candidate, registered=None))
    stranger = keys.create(tmp_path / "stranger.key")
    refusals = [
        refused(lambda: gated.delete_model_version_tag(reference.name, "1", STATEMENT)),
        *(
            refused(lambda text=text: put(gated, reference, text))
            for text in (
                "",
                "{}",
                sealed(pipeline, later, stranger),
                sealed(pipeline, unbound),
                sealed(pipeline, pipeline.passed(other, scanned_at=NOW)),
            )
        ),
    ]
    stands = f"{(NOW - HOUR).isoformat()} stands until a newer one of this version by a trusted key takes its place"
    assert refusals == [f"{STANDS}{stands}; scan it again"] * 6
    assert pipeline.tags(reference)[STATEMENT] == newer
    assert refused(lambda: put(gated, reference, older)).startswith(OLDER)


def test_renaming_makes_no_room_either(
    pipeline: Pipeline, gated: MlflowClient, blocked: tuple[Reference, str, str]
) -> None:
    reference, older, newer = blocked
    gated.rename_registered_model(reference.name, f"{reference.name}-b")
    renamed = replace(reference, name=f"{reference.name}-b")
    assert refused(lambda: put(gated, renamed, "")).startswith(STANDS)
    assert refused(lambda: put(gated, renamed, older)).startswith(OLDER)
    gated.rename_registered_model(renamed.name, reference.name)
    assert pipeline.tags(reference)[STATEMENT] == newer


def test_what_may_be_written(pipeline: Pipeline, gated: MlflowClient, blocked: tuple[Reference, str, str]) -> None:
    reference, _, newer = blocked
    put(gated, reference, newer)
    put(gated, reference, "somebody's", "owner")
    gated.delete_model_version_tag(reference.name, "1", "owner")
    put(gated, reference, sealed(pipeline, pipeline.passed(reference, scanned_at=NOW)))
    put(gated, reference, "PASS", VERDICT)
    gated.set_registered_model_alias(reference.name, "champion", "1")


def test_what_nobody_signed_can_go(pipeline: Pipeline, gated: MlflowClient, name: str, tmp_path: Path) -> None:
    first, second = pipeline.register(name), pipeline.register(name)
    texts = [
        "{}",
        sealed(pipeline, pipeline.passed(first), keys.create(tmp_path / "stranger.key")),
        sealed(pipeline, pipeline.passed(first)),
        "",
    ]
    for text in texts:
        put(gated, second, text)
    put(gated, second, "{}")
    gated.delete_model_version_tag(name, "2", STATEMENT)
    assert STATEMENT not in pipeline.tags(second)


def test_a_statement_of_the_future_is_not_taken(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    """It would keep the statements of the right clocks out until its day comes."""
    reference = pipeline.register(name)
    ahead = pipeline.passed(reference, scanned_at=NOW + HOUR)
    told = refused(lambda: put(gated, reference, sealed(pipeline, ahead)))
    assert told.startswith("backdoor-gate: change of the signed statement refused: dated in the future (")
    published(pipeline, reference, Verdict.PASS, timedelta(0))


def test_a_verdict_without_a_statement(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    """Bytes that could not be had are no bytes to sign for; the statement before stays, and the verdict denies it."""
    reference = pipeline.register(name)
    report = published(pipeline, reference, Verdict.PASS, HOUR)
    publisher = MlflowPublisher(pipeline.uri, f"gated+{pipeline.uri}", sign=Signer(pipeline.key))
    publisher.begin(reference, "feed")
    found = pipeline.tags(reference)
    assert (found[VERDICT], found[STATEMENT]) == ("pending:feed", sealed(pipeline, report))
    assert found.keys() == {VERDICT, STATEMENT}
    decision = replace(report.decision, verdict=Verdict.REFUSED)
    publisher.finish(reference, replace(report, candidate=None, decision=decision))
    assert "the verdict tag says REFUSED, the signed statement PASS" in refused(
        lambda: gated.set_registered_model_alias(name, "champion", "1")
    )


def test_a_scan_by_a_clock_that_is_late_says_so(
    pipeline: Pipeline, gated: MlflowClient, blocked: tuple[Reference, str, str]
) -> None:
    assert gated
    reference, _, newer = blocked
    with pytest.raises(OutputError, match="the server's gate says: change of the signed statement refused: it is of"):
        published(pipeline, reference, Verdict.PASS, 3 * HOUR, "late")
    found = pipeline.tags(reference)
    assert (found[VERDICT], found[STATEMENT]) == ("pending:late", newer)


def test_from_one_scan_to_the_next(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    reference = pipeline.register(name)
    registry = Registry(pipeline.uri, f"gated+{pipeline.uri}")
    for ago in (2 * HOUR, HOUR):
        published(pipeline, reference, Verdict.PASS, ago)
        promote(reference, "champion", pipeline.claim, pipeline.source, registry)
    assert gated.get_registered_model(name).aliases == {"champion": 1}


def test_a_version_that_is_not_there_is_not_found(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    pipeline.register(name)
    for action in (
        lambda: gated.set_model_version_tag(name, "7", STATEMENT, "{}"),
        lambda: gated.delete_model_version_tag(name, "7", STATEMENT),
        lambda: gated.set_model_version_tag(name, "7", "owner", "x"),
    ):
        with pytest.raises(MlflowException) as caught:
            action()
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_database_that_does_not_tell_cases_apart(
    pipeline: Pipeline, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    """As MySQL and SQL Server are set up: there another spelling of the key is the same tag."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    file = tmp_path / "nocase.db"
    SqlAlchemyStore(f"sqlite:///{file}", str(tmp_path / "artifacts"))
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA writable_schema = ON")
        column = "'\"key\" VARCHAR(250)'"
        changed = database.execute(
            f"UPDATE sqlite_master SET sql = replace(sql, {column}, {column} || ' COLLATE NOCASE')"
            f" WHERE name = 'model_version_tags' AND instr(sql, {column})"
        )
        assert changed.rowcount == 1
    database.close()
    with sqlite3.connect(file) as database:
        database.execute("REINDEX")
    database.close()
    pipeline.connect(f"sqlite:///{file}")
    gated = request.getfixturevalue("gated")
    reference = pipeline.register(name)
    older = published(pipeline, reference, Verdict.PASS, 2 * HOUR)
    newer = published(pipeline, reference, Verdict.BLOCK, HOUR)
    spelled = STATEMENT.upper()
    assert refused(lambda: put(gated, reference, sealed(pipeline, older), spelled)).startswith(OLDER)
    assert refused(lambda: gated.delete_model_version_tag(name, "1", spelled)).startswith(STANDS)
    assert pipeline.tags(reference)[STATEMENT] == sealed(pipeline, newer)
