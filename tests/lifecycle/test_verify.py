"""`verify`: one way to be believed, and a message of its own for every way not to be."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.errors import NotVerifiedError, RegistryReadError, UsageError
from backdoor_gate.lifecycle import trust
from backdoor_gate.lifecycle.verify import Claim, verify
from backdoor_gate.policy import load
from backdoor_gate.publishers.attestation import keys, statement
from backdoor_gate.publishers.attestation.signer import Signer
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.records import Suspicion, Verdict
from backdoor_gate.sources.directory import DirectorySource
from backdoor_gate.sources.manifest import path_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.promotion import Pipeline

    from backdoor_gate.candidate_facts import Reference

NOW = datetime.now(UTC)
OTHER = "sha256:" + "00" * 32


def verified(pipeline: Pipeline, reference: Reference) -> str:
    return verify(reference, pipeline.claim, pipeline.source, pipeline.registry).statement.verdict


def refused(pipeline: Pipeline, reference: Reference) -> str:
    with pytest.raises(NotVerifiedError) as caught:
        verified(pipeline, reference)
    assert caught.value.exit_code == 6
    assert caught.value.where == reference.uri
    assert str(caught.value).isprintable()
    return caught.value.what


def test_a_published_pass_is_verified(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    report = pipeline.publish(reference)
    found = verify(reference, pipeline.claim, pipeline.source, pipeline.registry)
    assert found.key.id == pipeline.key.public.id
    assert (found.statement.resource, found.statement.scan_id) == (f"models:/{name}/1", report.scan_id)
    assert report.candidate
    assert found.statement.digest == report.candidate.digest


# ---------------------------------------------------------------------------------------------- what was published


def test_never_scanned(pipeline: Pipeline, name: str) -> None:
    assert refused(pipeline, pipeline.register(name)).startswith("no verdict: it was never scanned")


def test_a_scan_that_has_not_finished(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    MlflowPublisher(pipeline.uri).begin(reference, "feedface")
    assert refused(pipeline, reference) == "pending: scan feedface has not finished"


def test_a_verdict_set_by_the_uploader(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.tag(reference, "verdict", "PASS")
    assert refused(pipeline, reference) == "no signed statement; the verdict tag alone proves nothing"


@pytest.mark.parametrize("text", ["PASS", "{}", "[" * 4000, '{"payload":"\ud800"}', "\x00", "9" * 5001])
def test_a_statement_that_is_none(pipeline: Pipeline, name: str, text: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    claim = replace(pipeline.claim, envelope=text)
    with pytest.raises(NotVerifiedError, match="the statement is not a signed envelope"):
        verify(reference, claim, pipeline.source, pipeline.registry)


def test_an_altered_statement(pipeline: Pipeline, name: str) -> None:
    first, second = pipeline.register(name), pipeline.register(name, b"other weights")
    pipeline.publish(first)
    pipeline.publish(second, scan_id="fedcba9876543210")
    payload = re.compile('"payload":"[^"]*"')
    one, two = (pipeline.tags(each)["backdoor_gate.statement"] for each in (first, second))
    found = payload.search(one)
    assert found
    pipeline.tag(second, "statement", payload.sub(found[0], two))
    assert refused(pipeline, second) == "the signature does not fit the statement: one of them was altered"


def test_a_signature_by_another_key(pipeline: Pipeline, name: str, tmp_path: Path) -> None:
    reference = pipeline.register(name)
    other = keys.create(tmp_path / "other.key")
    pipeline.publish(reference, key=other)
    assert refused(pipeline, reference) == f"signed by an untrusted key ({other.public.id})"


def test_something_else_that_the_key_signed(pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pipeline.register(name)
    with monkeypatch.context() as patch:
        patch.setattr(statement, "PREDICATE_TYPE", "https://slsa.dev/provenance/v1")
        pipeline.publish(reference)
    assert refused(pipeline, reference) == "what was signed is not a verification summary of this gate"


def test_another_verifier(pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pipeline.register(name)
    with monkeypatch.context() as patch:
        patch.setattr(statement, "VERIFIER", "pkg:generic/somebody")
        pipeline.publish(reference)
    assert refused(pipeline, reference) == "the statement was made by another verifier: 'pkg:generic/somebody'"


def test_tags_copied_to_another_model(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    pipeline.client.copy_model_version(reference.uri, f"{name}-copy")
    copied = pipeline.source.resolve(f"models:/{name}-copy/1")
    assert pipeline.tags(copied)["backdoor_gate.verdict"] == "PASS"
    assert refused(pipeline, copied) == f"the statement is about models:/{name}/1, not about this version"


def test_tags_copied_to_another_version(pipeline: Pipeline, name: str) -> None:
    first, second = pipeline.register(name), pipeline.register(name)
    pipeline.publish(first)
    pipeline.wear(second, pipeline.tags(first))
    assert refused(pipeline, second) == f"the statement is about models:/{name}/1, not about this version"


WHEN = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
OTHER_ENTRY = rf"the statement is about a version registered at {WHEN}, and this one was registered at {WHEN}"


def test_a_name_that_was_given_anew(pipeline: Pipeline, name: str) -> None:
    first = pipeline.register(name)
    pipeline.publish(first)
    tags = pipeline.tags(first)
    again = pipeline.register_anew(name)
    assert again.uri == first.uri
    pipeline.wear(again, tags)
    assert re.fullmatch(OTHER_ENTRY, refused(pipeline, again))
    claim = replace(pipeline.claim, envelope=tags["backdoor_gate.statement"])
    with pytest.raises(NotVerifiedError, match=OTHER_ENTRY):
        verify(again, claim, pipeline.source, pipeline.registry)
    pipeline.publish(again)
    assert verified(pipeline, again) == "PASS"


def test_the_same_name_in_another_registry(pipeline: Pipeline, name: str, tmp_path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    reference = pipeline.register(name)
    pipeline.publish(reference)
    tags = pipeline.tags(reference)
    SqlAlchemyStore(f"sqlite:///{tmp_path / 'other.db'}", str(tmp_path / "artifacts"))
    pipeline.connect(f"sqlite:///{tmp_path / 'other.db'}")
    elsewhere = pipeline.register(name)
    assert elsewhere.uri == reference.uri
    pipeline.wear(elsewhere, tags)
    assert re.fullmatch(OTHER_ENTRY, refused(pipeline, elsewhere))


def test_two_versions_of_one_moment_that_change_names(
    pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.model_registry import sqlalchemy_store  # noqa: PLC0415

    with monkeypatch.context() as patch:
        patch.setattr(sqlalchemy_store, "get_current_time_millis", lambda: 1_790_000_000_000)
        scanned, other = pipeline.register(name), pipeline.register(f"{name}-b")
    pipeline.publish(scanned)
    pipeline.wear(other, pipeline.tags(scanned))
    for old, new in ((name, f"{name}-c"), (f"{name}-b", name)):
        pipeline.client.rename_registered_model(old, new)
    assert (
        refused(pipeline, pipeline.source.resolve(scanned.uri)) == "the statement is about a version of another source"
    )


def test_a_statement_of_an_older_gate(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    candidate = pipeline.passed(reference).candidate
    assert candidate
    pipeline.publish(reference, candidate=replace(candidate, registered=None))
    with pytest.raises(NotVerifiedError) as caught:
        verified(pipeline, reference)
    assert caught.value.what == "the statement does not say when its version was registered: an older gate made it"
    assert caught.value.hint == "scan it again"


@pytest.mark.parametrize("created", [None, 0, "1790000000000", 1 << 62])
def test_a_registry_that_does_not_say_when(
    pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch, created: object
) -> None:
    from mlflow.entities.model_registry import ModelVersion  # noqa: PLC0415

    reference = pipeline.register(name)
    pipeline.publish(reference)
    monkeypatch.setattr(ModelVersion, "creation_timestamp", created)
    assert pipeline.source.resolve(reference.uri).registered is None
    assert refused(pipeline, reference) == "the registry does not say when this version was registered"


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_leaves_a_version_the_one_that_was_scanned(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    pipeline.client.update_model_version(name, "1", "described")
    pipeline.client.set_registered_model_alias(name, "challenger", "1")
    pipeline.client.transition_model_version_stage(name, "1", "Staging")
    pipeline.client.rename_registered_model(name, f"{name}-b")
    renamed = pipeline.source.resolve(f"models:/{name}-b/1")
    assert refused(pipeline, renamed) == f"the statement is about models:/{name}/1, not about this version"
    pipeline.client.rename_registered_model(f"{name}-b", name)
    assert verified(pipeline, pipeline.source.resolve(f"models:/{name}@challenger")) == "PASS"


def test_another_policy(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    before = pipeline.publish(reference).policy.digest
    file = pipeline.folder / "policy.yaml"
    file.write_text(f"{file.read_text()}# stricter\n")
    now = pipeline.policy.ref.digest
    assert refused(pipeline, reference) == f"judged by another policy: {before}, and {file} is {now}"


def test_another_entry_of_the_policy(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    other = replace(pipeline.policy.plan_for(name), formats=("pt2",))
    judged_by = replace(pipeline.policy, entries=(("*", other),)).entry_digest(name)
    pipeline.publish(reference, entry_digest=judged_by)
    assert refused(pipeline, reference).startswith("judged by another entry of the policy's 'models'")


def test_a_statement_that_does_not_say_which_entry_judged(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, entry_digest=None)
    assert refused(pipeline, reference) == (
        "the statement does not say which entry of the policy judged: an older gate made it"
    )


def test_other_references(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.calibrate(0.01)
    scanned = pipeline.publish(reference).references_digest
    assert verified(pipeline, reference) == "PASS"
    pipeline.calibrate(0.02)
    told = f"references differ: judged with {scanned}, the policy's file is sha256:"
    assert refused(pipeline, reference).startswith(told)
    (pipeline.folder / "references.json").unlink()
    with pytest.raises(UsageError, match=r"references\.json: cannot be read"):
        verified(pipeline, reference)


def test_references_that_the_scan_did_not_have(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.calibrate(0.01)
    pipeline.publish(reference, references_digest=None)
    assert refused(pipeline, reference).startswith("references differ: judged with None, the policy's file is sha256:")


@pytest.mark.parametrize("pack", ["2026.10", "older"])
def test_an_older_detector_pack(pipeline: Pipeline, name: str, pack: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, detector_pack=pack)
    assert refused(pipeline, reference).startswith(f"judged by detector pack {pack!r}, older than this gate's")


def test_a_newer_detector_pack_counts(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, detector_pack="2999.1")
    assert verified(pipeline, reference) == "PASS"


# ---------------------------------------------------------------------------------------------- what it speaks of


def test_other_architecture_code(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    scanned = pipeline.publish(reference).architecture_digest
    code = pipeline.folder / "nets" / "tiny.py"
    code.write_text(f"{code.read_text()}# changed\n")
    assert refused(pipeline, reference).startswith(
        f"architecture differs: scanned with {scanned}, the policy's code is"
    )


def test_other_clean_data(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    scanned = pipeline.publish(reference).data_digest
    (pipeline.folder / "clean.npz").write_bytes(b"poisoned images")
    assert refused(pipeline, reference).startswith(f"clean data differ: scanned with {scanned}, now sha256:")


def test_data_of_the_command_line(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    other = pipeline.folder / "other.npz"
    other.write_bytes(b"other images")
    pipeline.publish(reference, data_digest=path_digest(other))
    assert refused(pipeline, reference).startswith("clean data differ")
    verify(reference, Claim(pipeline.policy, str(other)), pipeline.source, pipeline.registry)
    with pytest.raises(UsageError, match="no such file"):
        verify(reference, Claim(pipeline.policy, "absent.npz"), pipeline.source, pipeline.registry)


def test_a_scan_without_data(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, data_digest=None)
    assert refused(pipeline, reference).startswith("clean data differ: scanned with None, now sha256:")


@pytest.mark.parametrize(
    ("file", "content"), [("model.safetensors", b"swapped"), ("added.txt", b""), ("MLmodel", b"!!python/none x")]
)
def test_bytes_that_changed(pipeline: Pipeline, name: str, file: str, content: bytes) -> None:
    reference = pipeline.register(name)
    report = pipeline.publish(reference)
    pipeline.overwrite(reference.uri, content, file)
    assert report.candidate
    expected = (
        rf"digest mismatch: scanned {report.candidate.digest}, registry has (sha256:[0-9a-f]{{64}}|something that .*)"
    )
    assert re.fullmatch(expected, refused(pipeline, reference))


def test_an_empty_folder_that_came_later(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    report = pipeline.publish(reference)
    assert report.candidate
    folder = Path(pipeline.client.get_run(pipeline.runs[reference.uri]).info.artifact_uri.removeprefix("file://"))
    (folder / "model" / "data" / "model.pth").mkdir(parents=True)
    found = "something that is refused (empty folder: data/model.pth)"
    assert refused(pipeline, reference) == f"digest mismatch: scanned {report.candidate.digest}, registry has {found}"


# ---------------------------------------------------------------------------------------------- what it says


def test_an_expired_verdict(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, expires_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert refused(pipeline, reference) == "expired on 2026-01-02T03:04:05+00:00"


def test_a_verdict_of_the_future(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, scanned_at=NOW + timedelta(days=1), expires_at=NOW + timedelta(days=2))
    assert refused(pipeline, reference).startswith("dated in the future (")


@pytest.mark.parametrize("verdict", [Verdict.BLOCK, Verdict.INCONCLUSIVE, Verdict.REFUSED])
def test_another_result_than_pass(pipeline: Pipeline, name: str, verdict: Verdict) -> None:
    reference = pipeline.register(name)
    passed = pipeline.passed(reference)
    pipeline.publish(reference, decision=replace(passed.decision, verdict=verdict, suspicion=Suspicion.WEAK))
    assert refused(pipeline, reference) == f"the result is {verdict}, not PASS"
    pipeline.tag(reference, "verdict", "PASS")
    assert refused(pipeline, reference) == f"the result is {verdict}, not PASS"


def test_a_verdict_tag_that_says_something_else(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    pipeline.tag(reference, "verdict", "BLOCK\x1b[31m")
    assert refused(pipeline, reference) == "the verdict tag says BLOCK\\x1b[31m, the signed statement PASS"


def test_the_first_fault_is_the_one_told(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference, expires_at=NOW, detector_pack="2020.1", data_digest=OTHER, architecture_digest=OTHER)
    pipeline.overwrite(reference.uri, b"swapped")
    assert refused(pipeline, reference).startswith("judged by detector pack")


# ---------------------------------------------------------------------------------------------- keys


def unsigned_policy(pipeline: Pipeline) -> None:
    file = pipeline.folder / "policy.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "signing" not in line))


def test_no_trusted_key_at_all(pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "fresh"))
    unsigned_policy(pipeline)
    reference = pipeline.register(name)
    pipeline.publish(reference)
    assert refused(pipeline, reference) == "no trusted key to check the statement with"
    assert not (tmp_path / "fresh").exists()


def test_the_users_own_key_counts_where_the_policy_names_none(
    pipeline: Pipeline, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "fresh"))
    unsigned_policy(pipeline)
    reference = pipeline.register(name)
    pipeline.publish(reference, key=trust.signing_key(pipeline.policy))
    assert verified(pipeline, reference) == "PASS"
    made = tmp_path / "fresh" / "backdoor-gate" / "gate.key"
    assert (made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert trust.signing_key(pipeline.policy).public.id == trust.trusted_keys(pipeline.policy)[0].id


def test_a_policy_that_does_not_trust_its_own_key_signs_nothing(pipeline: Pipeline) -> None:
    (pipeline.folder / "gate.key").unlink()
    keys.create(pipeline.folder / "gate.key")
    with pytest.raises(UsageError, match="does not trust the key it would sign with"):
        trust.signing_key(pipeline.policy)


def test_a_key_in_the_environment(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pipeline.folder / "policy.yaml"
    file.write_text(file.read_text().replace("key: gate.key", "key: env:GATE_SIGNING_KEY"))
    monkeypatch.delenv("GATE_SIGNING_KEY", raising=False)
    with pytest.raises(UsageError, match="env:GATE_SIGNING_KEY: the environment variable is not set"):
        trust.signing_key(pipeline.policy)
    monkeypatch.setenv("GATE_SIGNING_KEY", (pipeline.folder / "gate.key").read_text())
    assert trust.signing_key(pipeline.policy).public.id == pipeline.key.public.id


# ---------------------------------------------------------------------------------------------- elsewhere


def test_a_version_that_is_gone(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    pipeline.client.delete_model_version(name, "1")
    with pytest.raises(RegistryReadError):
        verified(pipeline, reference)


@pytest.fixture
def local(pipeline: Pipeline) -> Callable[[str], None]:
    """Verify a local folder, which was scanned as another path, by a statement in a file."""
    reference = DirectorySource().resolve(str(pipeline.folder / "nets"))
    (pipeline.folder / "copy").mkdir()
    scanned = DirectorySource().fetch(reference, pipeline.folder / "copy")
    registered = pipeline.register("local-" + pipeline.folder.name)
    envelope = Signer(pipeline.key)(replace(pipeline.passed(registered), candidate=scanned))

    def check(path: str) -> None:
        claim = Claim(load(pipeline.folder / "policy.yaml"), None, envelope)
        verify(DirectorySource().resolve(path), claim, DirectorySource(), pipeline.registry)

    return check


def test_a_local_folder_by_a_statement_in_a_file(pipeline: Pipeline, local: Callable[[str], None]) -> None:
    local(str(pipeline.folder / "nets"))
    local(str(pipeline.folder / "copy"))
    (pipeline.folder / "copy" / "more").touch()
    with pytest.raises(NotVerifiedError, match=r"digest mismatch: scanned .*, there is sha256:"):
        local(str(pipeline.folder / "copy"))


def test_a_local_folder_under_another_name(pipeline: Pipeline) -> None:
    file = pipeline.folder / "policy.yaml"
    spec = "architecture: tiny:build, architecture_path: nets, num_classes: 10, input: {shape: [1, 8, 8]}"
    entries = f"- {{match: '*/cand', model: {{{spec}}}}}\n- {{match: '*', model: {{{spec}, formats: [safetensors]}}}}\n"
    rest = "data: {clean: clean.npz}\nsigning: {key: gate.key, trusted: [gate.pub]}\n"
    file.write_text(f"version: 1\nmodels:\n{entries}{rest}")
    for folder in ("cand", "other", "elsewhere/cand", "copy"):
        (pipeline.folder / folder).mkdir(parents=True)
        (pipeline.folder / folder / "model.safetensors").write_bytes(b"weights")
    reference = DirectorySource().resolve(str(pipeline.folder / "cand"))
    (pipeline.folder / "fetched").mkdir()
    scanned = DirectorySource().fetch(reference, pipeline.folder / "fetched")
    passed = replace(
        pipeline.passed(pipeline.register("local-" + pipeline.folder.name)),
        candidate=scanned,
        entry_digest=pipeline.policy.entry_digest(reference.name),
    )
    claim = Claim(pipeline.policy, None, Signer(pipeline.key)(passed))
    source = DirectorySource()
    verify(source.resolve(str(pipeline.folder / "elsewhere" / "cand")), claim, source, pipeline.registry)
    with pytest.raises(NotVerifiedError, match="judged by another entry of the policy's 'models'"):
        verify(source.resolve(str(pipeline.folder / "other")), claim, source, pipeline.registry)


def test_a_local_folder_has_no_tags(pipeline: Pipeline) -> None:
    with pytest.raises(NotVerifiedError, match="only registry versions carry one"):
        verify(
            DirectorySource().resolve(str(pipeline.folder)),
            Claim(pipeline.policy),
            DirectorySource(),
            pipeline.registry,
        )
