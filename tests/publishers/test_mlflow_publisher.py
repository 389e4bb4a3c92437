"""The verdict as registry tags: pending first, the verdict last, and never an older scan's word left standing."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.candidate_facts import Candidate, Reference
from backdoor_gate.errors import GateError, OutputError
from backdoor_gate.publishers.mlflow import MAX_VALUE, MlflowPublisher
from backdoor_gate.records import AuditReport, Coverage, Decision, DetectorResult, PolicyRef, Status, Suspicion, Verdict

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SCAN = "0123456789abcdef"
STARTED = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@pytest.fixture(params=["sqlite_registry", "mlflow_server"])
def uri(request: pytest.FixtureRequest) -> str:
    """Each kind of registry in turn."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(uri: str) -> MlflowClient:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    return MlflowClient(uri)


@pytest.fixture
def reference(client: MlflowClient, request: pytest.FixtureRequest) -> Reference:
    """Version 1 of a model of this test's own."""
    name = request.node.name
    run = client.create_run("0")
    client.create_registered_model(name)
    version = client.create_model_version(name, source=f"{run.info.artifact_uri}/x", run_id=run.info.run_id)
    return Reference(f"models:/{name}/1", f"models:/{name}/1", name, str(version.version))


def report_of(verdict: Verdict = Verdict.BLOCK, scan_id: str = SCAN) -> AuditReport:
    results = (
        DetectorResult("neural_cleanse", True, Status.MEASURED, "small", anomaly_index=12.3456789),
        DetectorResult("max_margin", True, Status.INCONCLUSIVE, "no gradient"),
    )
    return AuditReport(
        scan_id=scan_id,
        scanned_at=STARTED,
        expires_at=STARTED + timedelta(days=90),
        requested="models:/digits@challenger",
        candidate=Candidate("r", "models:/digits/1", "digits", "1", Path("x"), (), "sha256:d1"),
        policy=PolicyRef("gate.yaml", "sha256:p1"),
        detector_pack="2026.11",
        false_block_rate=0.01,
        decision=Decision(verdict, Suspicion.NONE, (3, 7), ("why",), results),
        coverage=Coverage((), ()),
        seconds=1.0,
        tool_version="0.1.0",
    )


def tags(client: MlflowClient, reference: Reference) -> dict[str, str]:
    found: dict[str, str] = client.get_model_version(reference.name, reference.version).tags
    return found


def test_a_whole_scan(uri: str, client: MlflowClient, reference: Reference) -> None:
    publisher = MlflowPublisher(uri, report="https://ci.example/runs/7")
    publisher.begin(reference, SCAN)
    assert tags(client, reference) == {"backdoor_gate.verdict": f"pending:{SCAN}"}
    publisher.finish(reference, report_of())
    assert tags(client, reference) == {
        "backdoor_gate.verdict": "BLOCK",
        "backdoor_gate.digest": "sha256:d1",
        "backdoor_gate.policy": "sha256:p1",
        "backdoor_gate.scan_id": SCAN,
        "backdoor_gate.scanned_at": "2026-01-02T03:04:05+00:00",
        "backdoor_gate.expires_at": "2026-04-02T03:04:05+00:00",
        "backdoor_gate.detector_pack": "2026.11",
        "backdoor_gate.tool_version": "0.1.0",
        "backdoor_gate.suspect_classes": "3,7",
        "backdoor_gate.anomaly_index.neural_cleanse": "12.3457",
        "backdoor_gate.report": "https://ci.example/runs/7",
    }


def test_nothing_of_an_older_scan_survives(uri: str, client: MlflowClient, reference: Reference) -> None:
    name, version = reference.name, reference.version
    for key in ("backdoor_gate.verdict", "backdoor_gate.statement", "backdoor_gate.anomaly_index.gone", "owner"):
        client.set_model_version_tag(name, version, key, "PASS")
    publisher = MlflowPublisher(uri)
    publisher.begin(reference, SCAN)
    assert tags(client, reference) == {"backdoor_gate.verdict": f"pending:{SCAN}", "owner": "PASS"}
    missing = replace(report_of(Verdict.REFUSED), candidate=None)
    publisher.finish(reference, replace(missing, decision=replace(missing.decision, suspect_classes=(), detectors=())))
    found = tags(client, reference)
    assert found["backdoor_gate.verdict"] == "REFUSED"
    assert found["backdoor_gate.suspect_classes"] == "none"
    assert not {"backdoor_gate.digest", "backdoor_gate.report", "backdoor_gate.statement"} & found.keys()


def test_the_loser_of_two_scans_leaves_the_winner_alone(uri: str, client: MlflowClient, reference: Reference) -> None:
    first, second = MlflowPublisher(uri), MlflowPublisher(uri)
    first.begin(reference, SCAN)
    second.begin(reference, "other")
    with pytest.raises(OutputError, match=r"another scan \(pending:other\) has taken over"):
        first.finish(reference, report_of(Verdict.PASS))
    assert tags(client, reference) == {"backdoor_gate.verdict": "pending:other"}
    second.finish(reference, report_of(Verdict.PASS, "other"))
    assert tags(client, reference)["backdoor_gate.scan_id"] == "other"


class _Interrupted(MlflowPublisher):
    """Somebody else, or a broken registry, acts right after the tag `after` was set."""

    after = "backdoor_gate.tool_version"

    def _set(self, reference: Reference, key: str, value: str) -> None:
        super()._set(reference, key, value)
        if key == self.after and not value.startswith("pending:"):
            self.interrupt(reference)

    def interrupt(self, reference: Reference) -> None:
        raise ConnectionError("registry gone\nfor good")


def test_a_registry_that_fails_half_way_leaves_pending(uri: str, client: MlflowClient, reference: Reference) -> None:
    publisher = _Interrupted(uri)
    publisher.begin(reference, SCAN)
    with pytest.raises(OutputError) as caught:
        publisher.finish(reference, report_of(Verdict.PASS))
    assert caught.value.exit_code == 5
    assert str(caught.value).isprintable()
    assert tags(client, reference)["backdoor_gate.verdict"] == f"pending:{SCAN}"


def test_another_scan_in_the_middle(uri: str, client: MlflowClient, reference: Reference) -> None:
    class Overtaken(_Interrupted):
        def interrupt(self, reference: Reference) -> None:
            MlflowPublisher(uri).begin(reference, "other")

    publisher = Overtaken(uri)
    publisher.begin(reference, SCAN)
    with pytest.raises(OutputError, match="has taken over"):
        publisher.finish(reference, report_of(Verdict.PASS))
    assert tags(client, reference)["backdoor_gate.verdict"] == "pending:other"


def test_a_read_back_that_differs_takes_the_verdict_back(uri: str, client: MlflowClient, reference: Reference) -> None:
    class Tampered(_Interrupted):
        after = "backdoor_gate.verdict"

        def interrupt(self, reference: Reference) -> None:
            client.set_model_version_tag(reference.name, reference.version, "backdoor_gate.digest", "sha256:other")

    publisher = Tampered(uri)
    publisher.begin(reference, SCAN)
    with pytest.raises(OutputError, match="read back differ"):
        publisher.finish(reference, report_of(Verdict.PASS))
    assert tags(client, reference)["backdoor_gate.verdict"] == f"pending:{SCAN}"


def test_an_account_that_may_not_delete_blanks_old_tags(uri: str, client: MlflowClient, reference: Reference) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    class SetOnly(MlflowClient):
        def delete_model_version_tag(self, *arguments: object, **named: object) -> None:
            raise MlflowException("Permission denied", error_code=7)

    client.set_model_version_tag(reference.name, reference.version, "backdoor_gate.statement", "signed")
    publisher = MlflowPublisher(uri)
    publisher._client = SetOnly(uri)
    publisher.begin(reference, SCAN)
    publisher.finish(reference, report_of())
    found = tags(client, reference)
    assert (found["backdoor_gate.statement"], found["backdoor_gate.verdict"]) == ("", "BLOCK")


@pytest.mark.parametrize(
    ("key", "words"),
    [("backdoor_gate.statement", "Permission denied"), ("backdoor_gate.report", "backdoor-gate: refused")],
    ids=["statement", "report"],
)
def test_an_older_tag_that_cannot_go_is_no_start(
    uri: str, client: MlflowClient, reference: Reference, key: str, words: str
) -> None:
    """Only a statement may stay, and only where a gated store says that it does."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    class Holding(MlflowClient):
        def delete_model_version_tag(self, *arguments: object, **named: object) -> None:
            raise MlflowException(words, error_code=7)

        def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
            if not value:
                raise MlflowException(words, error_code=7)
            super().set_model_version_tag(name, version, key, value)

    client.set_model_version_tag(reference.name, reference.version, key, "older")
    publisher = MlflowPublisher(uri)
    publisher._client = Holding(uri)
    with pytest.raises(OutputError):
        publisher.begin(reference, SCAN)
    assert tags(client, reference) == {"backdoor_gate.verdict": f"pending:{SCAN}", key: "older"}


def test_values_are_printable_and_bounded(uri: str, client: MlflowClient, reference: Reference) -> None:
    publisher = MlflowPublisher(uri, report="a\x00\x1b\u202e\n" + "é" * 9000)
    publisher.begin(reference, SCAN)
    publisher.finish(reference, report_of())
    value = tags(client, reference)["backdoor_gate.report"]
    assert value.startswith("a\\x00\\x1b\\u202e\\né")
    assert len(value) == MAX_VALUE


def test_nowhere_to_write(uri: str) -> None:
    with pytest.raises(OutputError, match="not a registered version"):
        MlflowPublisher(uri).begin(Reference("x", "runs:/1/x", "x", None), SCAN)
    with pytest.raises(OutputError):
        MlflowPublisher(uri).begin(Reference("x", "models:/absent/1", "absent", "1"), SCAN)


def test_an_unreachable_registry_is_an_output_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(GateError) as caught:
        MlflowPublisher(f"http://127.0.0.1:{port}").begin(Reference("x", "models:/x/1", "x", "1"), SCAN)
    assert isinstance(caught.value, OutputError)
