"""The guide's own commands on a real server with accounts: who may do what, as its table says, and nobody else."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.promotion import Pipeline

from backdoor_gate.errors import NotVerifiedError, OutputError
from backdoor_gate.lifecycle.promote import promote
from backdoor_gate.mlflow_client import conversation
from backdoor_gate.publishers.attestation import keys
from backdoor_gate.publishers.mlflow import STATEMENT
from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.candidate_facts import Reference

pytest.importorskip("flask_wtf", reason="needs mlflow[auth]")

GUIDE = Path(__file__).parents[2] / "docs" / "enforcement.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    (found,) = (body for body in re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S) if holding in body)
    return str(found)


def login(name: str) -> None:
    os.environ["MLFLOW_TRACKING_USERNAME"] = name
    os.environ["MLFLOW_TRACKING_PASSWORD"] = f"{name}-password-1"


@pytest.fixture(scope="module")
def guided(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline on a server that was set up word for word as the guide says."""
    folder = tmp_path_factory.mktemp("guided")
    (folder / "auth.ini").write_text(block("ini", "[mlflow]").replace("sqlite:///", f"sqlite:///{folder}/"))
    keys.create_pair(folder / "server.key")
    commands = block("bash", "mlflow server").replace("gate.pub", str(folder / "gate.pub"))
    commands = commands.replace("auth.ini", str(folder / "auth.ini")).replace("\\\n", " ")
    variables = dict(line.removeprefix("export ").split("=") for line in commands.splitlines() if "export" in line)
    variables |= {"MLFLOW_AUTH_ADMIN_PASSWORD": "admin-password-1", "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret"}
    words = shlex.split(commands[commands.index("mlflow server") :])[2:]
    made = Pipeline("http://not-yet", folder)
    url = serve(*words, **variables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", url)
        for name in ("trainer", "gate", "promoter"):
            patch.setenv(f"{name.upper()}_PASSWORD", f"{name}-password-1")
        login("admin")
        exec(compile(block("python", "accounts"), str(GUIDE), "exec"), {})
    made.connect(url)
    return made


@pytest.fixture(autouse=True)
def _logged_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")


@pytest.fixture(scope="module")
def versions(guided: Pipeline) -> tuple[Reference, Reference]:
    """A version with a signed PASS and one without, added by the trainer to the model that the admin made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            patch.setenv(name, "")
        login("trainer")
        guided.client.create_experiment("training")
        guided.experiment = guided.client.get_experiment_by_name("training").experiment_id
        signed, unsigned = guided.register("digits"), guided.register("digits")
        login("gate")
        guided.publish(signed)
    return signed, unsigned


def may(action: Callable[[], object]) -> str:
    """Say yes or no; anything but a clear refusal is neither."""
    try:
        with conversation("", OutputError):
            action()
    except OutputError as error:
        refused = ("access denied by the registry", "the server's gate says")
        return "no" if error.what.startswith(refused) else str(error)
    return "yes"


def table() -> dict[str, dict[str, str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| ")
    ]
    start = next(index for index, row in enumerate(rows) if row[0] == "may")
    names = rows[start][1:]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows[start + 1 :]}


def test_the_guides_table_is_what_the_server_does(guided: Pipeline, versions: tuple[Reference, Reference]) -> None:
    signed, unsigned = versions
    client, run = guided.client, guided.runs[signed.uri]
    source = f"{client.get_run(run).info.artifact_uri}/model" if not login("admin") else ""
    actions: dict[str, Callable[[], object]] = {
        "add a version": lambda: client.create_model_version("digits", source=source, run_id=run),
        "overwrite the files of a version": lambda: client.log_artifact(run, str(GUIDE), "other"),
        "set a tag on a version": lambda: client.set_model_version_tag("digits", unsigned.version, "note", "1"),
        "delete a tag of a version": lambda: client.delete_model_version_tag("digits", unsigned.version, "note"),
        "set the alias challenger": lambda: client.set_registered_model_alias("digits", "challenger", "1"),
        "set the alias champion without a signed PASS": lambda: client.set_registered_model_alias(
            "digits", "champion", unsigned.version
        ),
        "set the alias champion with a signed PASS": lambda: client.set_registered_model_alias(
            "digits", "champion", signed.version
        ),
        "delete an alias": lambda: client.delete_registered_model_alias("digits", "challenger"),
        "move a version to Production without a signed PASS": lambda: client.transition_model_version_stage(
            "digits", unsigned.version, "Production"
        ),
    }
    measured: dict[str, dict[str, str]] = {label: {} for label in actions}
    for account in ("trainer", "gate", "promoter"):
        login(account)
        for label, action in actions.items():
            measured[label][account] = may(action)
    assert measured == table()


def test_not_even_the_admin_gets_round_it(guided: Pipeline, versions: tuple[Reference, Reference]) -> None:
    login("admin")
    set_alias = guided.client.set_registered_model_alias
    assert may(lambda: set_alias("digits", "production", versions[1].version)) == "no"
    assert may(lambda: set_alias("digits", "production", versions[0].version)) == "yes"


def test_the_promoter_promotes_and_takes_back(guided: Pipeline, versions: tuple[Reference, Reference]) -> None:
    login("promoter")
    promote(versions[0], "champion", guided.claim, guided.source, guided.registry)
    assert guided.alias(versions[0], "champion") == versions[0].version
    with pytest.raises(NotVerifiedError, match="no verdict"):
        promote(versions[1], "champion", guided.claim, guided.source, guided.registry)


def test_the_gate_scans_again_and_nobody_puts_the_older_pass_back(guided: Pipeline) -> None:
    """The gate's account may not delete tags, so it blanks them; the server keeps the statement all the same."""
    login("trainer")
    reference = guided.register("digits")
    login("gate")
    passed = guided.publish(reference, scanned_at=datetime.now(UTC) - timedelta(hours=1))
    older = guided.tags(reference)["backdoor_gate.statement"]
    guided.publish(reference, decision=replace(passed.decision, verdict=Verdict.BLOCK))
    for account in ("gate", "admin"):
        login(account)
        assert may(lambda: guided.tag(reference, "statement", older)) == "no"
        assert may(lambda: guided.tag(reference, "statement", "")) == "no"
        guided.client.set_model_version_tag("digits", reference.version, "backdoor_gate.verdict", "PASS")
    assert may(lambda: guided.client.delete_model_version_tag("digits", reference.version, STATEMENT)) == "no"
    assert may(lambda: guided.client.set_registered_model_alias("digits", "prod", reference.version)) == "no"


def test_a_pass_that_the_trainer_gives_itself(guided: Pipeline, versions: tuple[Reference, Reference]) -> None:
    login("gate")
    tags = guided.tags(versions[0])
    login("trainer")
    source = guided.client.get_run(guided.runs[versions[0].uri]).info.artifact_uri + "/model"
    forged = guided.client.create_model_version("digits", source, guided.runs[versions[0].uri], tags=tags)
    assert forged.tags["backdoor_gate.verdict"] == "PASS"
    set_alias = guided.client.set_registered_model_alias
    assert may(lambda: set_alias("digits", "champion", forged.version)) == "no"
