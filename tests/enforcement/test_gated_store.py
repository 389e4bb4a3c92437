"""The gated registry store, opened through MLflow as a server opens it: what it refuses, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.enforcement import open_store, rules
from backdoor_gate.errors import OutputError, UsageError
from backdoor_gate.lifecycle.promote import promote
from backdoor_gate.lifecycle.registry import Registry
from backdoor_gate.publishers.attestation import keys
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.tracking import MlflowClient
    from support.promotion import Pipeline

    from backdoor_gate.candidate_facts import Reference


def denied(gated: MlflowClient, reference: Reference, alias: str = "champion") -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with pytest.raises(MlflowException) as caught:
        gated.set_registered_model_alias(reference.name, alias, reference.version)
    assert caught.value.error_code == "PERMISSION_DENIED"
    assert alias not in gated.get_registered_model(reference.name).aliases
    return str(caught.value.message)


def test_a_signed_pass_opens_the_door(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    reference = pipeline.register(name)
    expected = "backdoor-gate: alias 'champion' refused: no verdict: it was never scanned, or its tags were removed; "
    assert denied(gated, reference).startswith(expected)
    pipeline.publish(reference)
    gated.set_registered_model_alias(name, "champion", reference.version)
    assert gated.get_registered_model(name).aliases == {"champion": 1}


def test_a_promotion_that_the_server_refuses_says_why(
    pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    keys.create_pair(tmp_path / "servers.key")
    monkeypatch.setenv(rules.TRUSTED, str(tmp_path / "servers.pub"))
    assert request.getfixturevalue("gated")
    reference = pipeline.register(name)
    pipeline.publish(reference)
    registry = Registry(pipeline.uri, f"gated+{pipeline.uri}")
    with pytest.raises(
        OutputError, match="the server's gate says: alias 'champion' refused: signed by an untrusted key"
    ):
        promote(reference, "champion", pipeline.claim, pipeline.source, registry)
    assert pipeline.alias(reference, "champion") is None


def test_every_reason_to_refuse(pipeline: Pipeline, gated: MlflowClient, name: str, tmp_path: Path) -> None:
    reference, other = pipeline.register(name), pipeline.register(name)
    pipeline.tag(reference, "verdict", "PASS")
    assert "no signed statement" in denied(gated, reference)
    pipeline.tag(reference, "statement", "{}")
    assert "the statement is not a signed envelope" in denied(gated, reference)
    pipeline.publish(reference, key=keys.create(tmp_path / "other.key"))
    assert "signed by an untrusted key" in denied(gated, reference)
    pipeline.publish(reference, expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "expired on 2026-01-01" in denied(gated, reference)
    pipeline.publish(reference, detector_pack="2026.1")
    assert "judged by detector pack '2026.1', older than this gate's" in denied(gated, reference)
    blocked = replace(pipeline.passed(reference).decision, verdict=Verdict.BLOCK)
    pipeline.publish(reference, decision=blocked)
    assert "the result is BLOCK, not PASS" in denied(gated, reference)
    pipeline.publish(reference)
    MlflowPublisher(pipeline.uri).begin(reference, "feed")
    assert "pending: scan feed has not finished" in denied(gated, reference)
    pipeline.publish(reference)
    pipeline.wear(other, pipeline.tags(reference))
    assert f"the statement is about models:/{name}/1, not about this version" in denied(gated, other)


def test_a_name_that_was_given_anew(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    from mlflow.entities.model_registry import ModelVersionTag  # noqa: PLC0415

    first = pipeline.register(name)
    pipeline.publish(first)
    tags = [ModelVersionTag(key, value) for key, value in pipeline.tags(first).items()]
    gated.delete_registered_model(name)
    gated.create_registered_model(name)
    again = open_store(f"gated+{pipeline.uri}").create_model_version(name, "file:///evil", tags=tags)
    assert (str(again.version), again.tags["backdoor_gate.verdict"]) == (first.version, "PASS")
    assert "the statement is about a version registered at" in denied(gated, first)
    with pytest.warns(FutureWarning), pytest.raises(Exception, match="stage 'Production' refused: the statement is"):
        gated.transition_model_version_stage(name, "1", "Production")


def test_two_models_that_change_names(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    good, other = pipeline.register(name), pipeline.register(f"{name}-b", b"other weights")
    pipeline.publish(good)
    pipeline.wear(other, pipeline.tags(good))
    for old, new in ((name, f"{name}-c"), (f"{name}-b", name)):
        gated.rename_registered_model(old, new)
    assert "the statement is about a version registered at" in denied(gated, good)
    for old, new in ((name, f"{name}-b"), (f"{name}-c", name)):
        gated.rename_registered_model(old, new)
    gated.set_registered_model_alias(name, "champion", "1")


def test_a_statement_of_an_older_gate(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    reference = pipeline.register(name)
    candidate = pipeline.passed(reference).candidate
    assert candidate
    pipeline.publish(reference, candidate=replace(candidate, registered=None))
    assert denied(gated, reference).endswith("an older gate made it; scan it again")


def test_a_copy_is_a_version_of_its_own(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    gated.copy_model_version(reference.uri, f"{name}-b")
    copied = pipeline.source.resolve(f"models:/{name}-b/1")
    assert f"the statement is about {reference.uri}, not about this version" in denied(gated, copied)
    pipeline.publish(copied)
    gated.set_registered_model_alias(copied.name, "champion", "1")


@pytest.mark.parametrize("alias", ["champion", "Champion", "production", "PROD"])
def test_the_enforced_aliases(pipeline: Pipeline, gated: MlflowClient, name: str, alias: str) -> None:
    reference = pipeline.register(name)
    assert f"alias '{alias}' refused" in denied(gated, reference, alias)
    gated.set_registered_model_alias(name, "challenger", reference.version)


def test_the_list_is_the_servers(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str
) -> None:
    monkeypatch.setenv(rules.ALIASES, " live , ")
    monkeypatch.setenv(rules.STAGES, "staging")
    gated = request.getfixturevalue("gated")
    reference = pipeline.register(name)
    denied(gated, reference, "live")
    gated.set_registered_model_alias(name, "champion", reference.version)
    monkeypatch.setenv(rules.ALIASES, "*")
    every = open_store(f"gated+{pipeline.uri}")
    with pytest.raises(Exception, match="alias 'anything' refused"):
        every.set_registered_model_alias(name, "anything", 1)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_stages(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    reference = pipeline.register(name)
    for stage in ("Production", "production"):
        with pytest.raises(MlflowException, match=f"stage '{stage}' refused: no verdict") as caught:
            gated.transition_model_version_stage(name, "1", stage)
        assert caught.value.error_code == "PERMISSION_DENIED"
    gated.transition_model_version_stage(name, "1", "Staging")
    pipeline.publish(reference)
    gated.transition_model_version_stage(name, "1", "Production")
    with pytest.raises(MlflowException, match="renaming refused: 'Production' would move"):
        gated.rename_registered_model(name, f"{name}-new")


def test_renaming(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    reference = pipeline.register(name)
    gated.set_registered_model_alias(name, "challenger", "1")
    gated.rename_registered_model(name, f"{name}-b")
    gated.rename_registered_model(f"{name}-b", name)
    pipeline.publish(reference)
    gated.set_registered_model_alias(name, "champion", "1")
    with pytest.raises(MlflowException, match="renaming refused: 'champion' would move") as caught:
        gated.rename_registered_model(name, f"{name}-b")
    assert caught.value.error_code == "PERMISSION_DENIED"
    gated.delete_registered_model_alias(name, "champion")
    gated.rename_registered_model(name, f"{name}-b")


def test_prompts_are_left_alone_but_no_model_passes_as_one(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gated.register_prompt(f"{name}-prompt", "Say {{what}}")
        gated.set_prompt_alias(f"{name}-prompt", "production", 1)
    reference = pipeline.register(name)
    gated.set_registered_model_tag(name, "mlflow.prompt.is_prompt", "true")
    store = open_store(f"gated+{pipeline.uri}")
    with pytest.raises(Exception, match="alias 'production' refused"):
        store.set_registered_model_alias(name, "production", reference.version)


PROMPT = "mlflow.prompt.is_prompt"


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("source", ["dummy-source", "prompt-template"])
@pytest.mark.parametrize("tagged", [False, True])
def test_no_prompt_takes_a_models_place(
    pipeline: Pipeline, gated: MlflowClient, name: str, source: str, tagged: bool
) -> None:
    from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    reference = pipeline.register(name)
    pipeline.publish(reference)
    gated.set_registered_model_alias(name, "champion", "1")
    gated.transition_model_version_stage(name, "1", "Production")
    store = open_store(f"gated+{pipeline.uri}")  # the client refuses much of this; the server's requests come here
    if tagged:
        store.set_registered_model_tag(name, RegisteredModelTag(PROMPT, "true"))
    for _ in range(3):
        placed = store.create_model_version(name, source, tags=[ModelVersionTag(PROMPT, "true")])
    says = f"version {placed.version} is a prompt, without files, under a model's name; name a version with files"
    with pytest.raises(MlflowException, match=f"alias 'champion' refused: {says}") as caught:
        store.set_registered_model_alias(name, "champion", placed.version)
    assert caught.value.error_code == "PERMISSION_DENIED"
    with pytest.raises(MlflowException, match=f"stage 'Production' refused: {says}"):
        store.transition_model_version_stage(name, placed.version, "Production", archive_existing_versions=True)
    assert str(store.get_model_version_by_alias(name, "champion").version) == "1"
    assert store.get_model_version(name, 1).current_stage == "Production"


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_prompt_that_is_given_files_is_a_model(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    for _ in range(2):
        gated.register_prompt(name, "Say {{what}}")
    store = open_store(f"gated+{pipeline.uri}")
    store.set_registered_model_alias(name, "production", 1)
    added = store.create_model_version(name, "file:///evil").version
    for version in (added, 2):
        with pytest.raises(MlflowException, match="alias 'production' refused"):
            store.set_registered_model_alias(name, "production", version)
    store.delete_model_version(name, added)
    store.set_registered_model_alias(name, "production", 2)


def test_a_prompt_that_cannot_be_told_is_none(
    pipeline: Pipeline, gated: MlflowClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    gated.register_prompt(name, "Say {{what}}")
    store = open_store(f"gated+{pipeline.uri}")

    def away(*_: object) -> None:
        raise MlflowException("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "get_registered_model", away)
        with pytest.raises(MlflowException, match="the database is away"):
            store.set_registered_model_alias(name, "production", 1)
    assert store.get_registered_model(name).aliases == {}
    store.set_registered_model_alias(name, "production", 1)


def test_a_version_that_is_not_there_is_not_found(pipeline: Pipeline, gated: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    pipeline.register(name)
    with pytest.raises(MlflowException) as caught:
        gated.set_registered_model_alias(name, "champion", "7")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


# ---------------------------------------------------------------------------------------------- the environment


def test_no_key_no_store(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", os.pathsep):
        monkeypatch.setenv(rules.TRUSTED, value)
        with pytest.raises(UsageError, match="BACKDOOR_GATE_TRUSTED: a gated registry store needs at least one"):
            open_store(f"gated+{pipeline.uri}")
    monkeypatch.setenv(rules.TRUSTED, str(pipeline.folder / "absent.pub"))
    with pytest.raises(UsageError, match=r"absent\.pub: cannot be read"):
        open_store(f"gated+{pipeline.uri}")


def test_several_keys(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, _ = keys.create_pair(tmp_path / "second.key")
    monkeypatch.setenv(rules.TRUSTED, os.pathsep.join(str(tmp_path / f"{name}.pub") for name in ("gate", "second")))
    assert [key.id for key in rules.from_environment().trusted] == [pipeline.key.public.id, made.public.id]


def test_no_such_stage(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline.uri
    monkeypatch.setenv(rules.STAGES, "Production,Prod")
    with pytest.raises(UsageError, match="BACKDOOR_GATE_ENFORCED_STAGES: no such stage: 'prod'"):
        rules.from_environment()


def test_workspaces_are_gated_too(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore  # noqa: PLC0415

    from backdoor_gate.enforcement.store import GatedWorkspaceStore  # noqa: PLC0415

    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    store = open_store(f"gated+{pipeline.uri}")
    assert isinstance(store, GatedWorkspaceStore)
    assert isinstance(store, WorkspaceAwareSqlAlchemyStore)


def test_the_same_name_in_another_workspace(
    pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow.entities.model_registry import ModelVersionTag  # noqa: PLC0415
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415
    from mlflow.utils.workspace_context import WorkspaceContext  # noqa: PLC0415

    SqlAlchemyStore(f"sqlite:///{tmp_path / 'own.db'}", str(tmp_path / "artifacts"))
    pipeline.connect(f"sqlite:///{tmp_path / 'own.db'}")
    reference = pipeline.register(name)
    pipeline.publish(reference)
    tags = [ModelVersionTag(key, value) for key, value in pipeline.tags(reference).items()]
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    store = open_store(f"gated+{pipeline.uri}")
    with WorkspaceContext("other"):
        store.create_registered_model(name)
        store.create_model_version(name, "file:///evil", tags=tags)
        with pytest.raises(Exception, match="alias 'champion' refused: the statement is about a version registered at"):
            store.set_registered_model_alias(name, "champion", "1")
    with WorkspaceContext("default"):
        store.set_registered_model_alias(name, "champion", "1")


def test_the_door_costs_other_processes_nothing() -> None:
    program = "import sys, backdoor_gate.enforcement; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert {"mlflow", "cryptography", "sqlalchemy"} & set(done.stdout.split()) == set()
