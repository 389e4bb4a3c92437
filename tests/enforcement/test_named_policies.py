"""The policies that a server names: only what one of them judged, by its entry and its references, is promoted."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.enforcement import rules
from backdoor_gate.enforcement.policies import POLICIES
from backdoor_gate.errors import NotVerifiedError, UsageError
from backdoor_gate.policy import load

if TYPE_CHECKING:
    from pathlib import Path

    from support.promotion import Pipeline

    from backdoor_gate.candidate_facts import Reference


@pytest.fixture
def server(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's own copy of the pipeline's policy and its references; code, data and keys lie elsewhere."""
    pipeline.calibrate(0.01)
    folder = tmp_path / "server"
    folder.mkdir()
    for file in ("policy.yaml", "references.json"):
        shutil.copy(pipeline.folder / file, folder)
    monkeypatch.setenv(POLICIES, str(folder / "policy.yaml"))
    return folder


def check(pipeline: Pipeline, reference: Reference) -> None:
    held = pipeline.registry.held(reference)
    rules.from_environment().check(reference.name, reference.version or "", held.registered, held.tags)


def test_what_its_policy_judged_passes(pipeline: Pipeline, server: Path, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    check(pipeline, reference)
    (server / "policy.yaml").write_text("version: 1\nmodel: {num_classes: 10}\n")
    with pytest.raises(NotVerifiedError, match="judged by a policy that this server does not name: sha256:"):
        check(pipeline, reference)


def test_several_policies(pipeline: Pipeline, server: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (server / "newer.yaml").write_text("version: 1\nmodel: {num_classes: 10}\n")
    monkeypatch.setenv(POLICIES, os.pathsep.join(str(server / file) for file in ("newer.yaml", "policy.yaml")))
    reference = pipeline.register(name)
    pipeline.publish(reference)
    check(pipeline, reference)


@pytest.mark.parametrize("order", [("old", "server"), ("server", "old")])
def test_the_same_policy_beside_other_references(
    pipeline: Pipeline, server: Path, name: str, order: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = shutil.copytree(server, server.parent / "old")
    with (old / "references.json").open("a") as file:
        file.write("\n")
    monkeypatch.setenv(POLICIES, os.pathsep.join(str(server.parent / each / "policy.yaml") for each in order))
    reference = pipeline.register(name)
    pipeline.publish(reference)
    check(pipeline, reference)
    pipeline.publish(reference, references_digest="sha256:" + "0" * 64)
    with pytest.raises(NotVerifiedError, match="references differ"):
        check(pipeline, reference)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"entry_digest": "sha256:" + "0" * 64}, "judged by another entry of the policy's 'models'"),
        ({"entry_digest": None}, "the statement does not say which entry of the policy judged"),
        ({"references_digest": None}, "references differ: judged with None, the policy's file is sha256:"),
    ],
    ids=["entry", "no entry", "references"],
)
def test_the_entry_and_the_references_count(
    pipeline: Pipeline, server: Path, name: str, changes: dict[str, str | None], told: str
) -> None:
    assert server
    reference = pipeline.register(name)
    pipeline.publish(reference, **changes)
    with pytest.raises(NotVerifiedError, match=told):
        check(pipeline, reference)


def test_a_model_that_its_policy_does_not_know(pipeline: Pipeline, server: Path, name: str) -> None:
    reference = pipeline.register(name)
    (server / "policy.yaml").write_text("version: 1\nmodels: [{match: 'other-*', model: {num_classes: 10}}]\n")
    pipeline.publish(reference, policy=load(server / "policy.yaml").ref)
    with pytest.raises(NotVerifiedError, match="no entry of 'models' matches"):
        check(pipeline, reference)


def test_what_cannot_be_read_is_an_error_at_the_start(server: Path) -> None:
    (server / "references.json").unlink()
    with pytest.raises(UsageError, match="references"):
        rules.from_environment()
    (server / "policy.yaml").unlink()
    with pytest.raises(UsageError, match=r"policy\.yaml"):
        rules.from_environment()
