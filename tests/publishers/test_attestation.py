"""Signed statements: any byte that is not as it was signed is refused, and keys are neither lost nor shown."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.candidate_facts import Candidate, Registration
from backdoor_gate.errors import GateError, NotVerifiedError, OutputError, UsageError
from backdoor_gate.publishers.attestation import keys
from backdoor_gate.publishers.attestation.dsse import MAX_BYTES, PAYLOAD_TYPE, pre_authentication, seal, unseal
from backdoor_gate.publishers.attestation.signer import Signer
from backdoor_gate.publishers.attestation.statement import coverage_digest, decode, encode
from backdoor_gate.publishers.mlflow import MAX_VALUE
from backdoor_gate.records import (
    AuditReport,
    Coverage,
    DataFacts,
    Decision,
    DetectorResult,
    InputSpec,
    PolicyRef,
    Runtime,
    Scan,
    Status,
    Suspicion,
    Verdict,
)
from backdoor_gate.verdict.coverage import coverage


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKey:
    """The gate's key."""
    return keys.create(tmp_path_factory.mktemp("keys") / "gate.key")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKey:
    """Somebody else's key."""
    return keys.create(tmp_path_factory.mktemp("keys") / "other.key")


REGISTERED = Registration(datetime(2026, 11, 20, 9, 8, 7, 654_000, tzinfo=UTC), "sha256:" + "23" * 32)


def audited(verdict: Verdict = Verdict.PASS, name: str = "digits") -> AuditReport:
    results = (
        DetectorResult("neural_cleanse", True, Status.MEASURED, "small", anomaly_index=1.0),
        DetectorResult("max_margin", True, Status.INCONCLUSIVE, "no gradient"),
    )
    return AuditReport(
        scan_id="0123456789abcdef",
        scanned_at=datetime(2026, 11, 20, 12, 30, 1, 999, tzinfo=UTC),
        expires_at=datetime(2027, 2, 18, 12, 30, 1, tzinfo=UTC),
        requested=f"models:/{name}@challenger",
        candidate=Candidate(
            "r", f"models:/{name}/3", name, "3", Path("x"), (), "sha256:" + "ab" * 32, registered=REGISTERED
        ),
        policy=PolicyRef("some/where/gate policy.yaml", "sha256:" + "cd" * 32),
        detector_pack="2026.11",
        false_block_rate=0.01,
        decision=Decision(verdict, Suspicion.NONE, (), ("why",), results, calibrated=True),
        coverage=coverage(results, clean_data=False),
        seconds=12.3,
        architecture_digest="sha256:" + "ef" * 32,
        data_digest="sha256:" + "01" * 32,
        entry_digest="sha256:" + "45" * 32,
        references_digest="sha256:" + "67" * 32,
        scan=Scan(
            10,
            InputSpec((1, 8, 8)),
            "pt2",
            DataFacts("clean", 9, 1.0),
            (),
            Runtime("2.13.0+cpu\x1b" + "x" * 99, "cpu", "B", 7),
        ),
        tool_version="0.1.0",
    )


# ---------------------------------------------------------------------------------------------- envelopes


def test_what_is_signed_is_the_specifications_encoding(key: keys.SigningKey) -> None:
    assert pre_authentication(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"
    envelope = json.loads(seal(b"hello", key))
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert (base64.b64decode(envelope["payload"]), envelope["payloadType"]) == (b"hello", PAYLOAD_TYPE)
    (signature,) = envelope["signatures"]
    assert signature["keyid"] == key.public.id
    public = serialization.load_pem_public_key(key.public.pem())
    assert isinstance(public, ed25519.Ed25519PublicKey)
    public.verify(base64.b64decode(signature["sig"]), b"DSSEv1 28 application/vnd.in-toto+json 5 hello")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_what_was_sealed_comes_out(key: keys.SigningKey, other: keys.SigningKey, payload: bytes) -> None:
    assert unseal(seal(payload, key), (other.public, key.public)) == (payload, key.public)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_any_changed_byte_is_refused(key: keys.SigningKey, data: st.DataObject) -> None:
    sealed = seal(encode(audited()) or b"", key).encode()
    place = data.draw(st.integers(0, len(sealed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != sealed[place]))
    changed = sealed[:place] + bytes([byte]) + sealed[place + 1 :]
    with pytest.raises(NotVerifiedError):
        unseal(changed.decode("latin-1"), (key.public,))


def test_every_single_bit_counts(key: keys.SigningKey) -> None:
    sealed = seal(b"short", key).encode()
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(NotVerifiedError):
                unseal(changed.decode("latin-1"), (key.public,))


@settings(deadline=None)
@given(st.data())
def test_any_cut_or_addition_is_refused(key: keys.SigningKey, data: st.DataObject) -> None:
    sealed = seal(b"payload", key)
    place = data.draw(st.integers(0, len(sealed)))
    for changed in (sealed[:place] + data.draw(st.characters()) + sealed[place:], sealed[:place] + sealed[place + 1 :]):
        if changed != sealed:
            with pytest.raises(NotVerifiedError):
                unseal(changed, (key.public,))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig"]) | st.text(), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.text(max_size=200) | json_values.map(json.dumps))
def test_any_text_is_refused_in_one_line(key: keys.SigningKey, text: str) -> None:
    with pytest.raises(NotVerifiedError) as caught:
        unseal(text, (key.public,))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        json.dumps,
        lambda envelope: json.dumps(dict(reversed(envelope.items())), separators=(",", ":")),
        lambda envelope: json.dumps(envelope | {"more": 1}, separators=(",", ":")),
        lambda envelope: json.dumps(envelope | {"signatures": envelope["signatures"] * 2}, separators=(",", ":")),
        lambda envelope: json.dumps(envelope | {"signatures": []}, separators=(",", ":")),
        lambda envelope: json.dumps(envelope | {"payloadType": "text/plain"}, separators=(",", ":")),
        lambda envelope: json.dumps(envelope, separators=(",", ":")).replace("{", '{"payload":"",', 1),
    ],
    ids=["spaces", "order", "more", "two signatures", "no signature", "type", "duplicate key"],
)
def test_other_spellings_are_refused(key: keys.SigningKey, change: object) -> None:
    assert callable(change)
    with pytest.raises(NotVerifiedError, match="not a signed envelope"):
        unseal(change(json.loads(seal(b"payload", key))), (key.public,))


def test_a_key_id_is_no_proof(key: keys.SigningKey, other: keys.SigningKey) -> None:
    forged = seal(b"payload", other).replace(other.public.id, key.public.id)
    with pytest.raises(NotVerifiedError, match="the signature does not fit"):
        unseal(forged, (key.public,))
    with pytest.raises(NotVerifiedError, match=rf"signed by an untrusted key \({other.public.id}\)"):
        unseal(seal(b"payload", other), (key.public,))


# ---------------------------------------------------------------------------------------------- statements


def test_a_statement_word_for_word() -> None:
    report = audited()
    assert json.loads(encode(report) or b"") == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "model", "digest": {"sha256": "ab" * 32}},
            {"name": "architecture", "digest": {"sha256": "ef" * 32}},
            {"name": "data", "digest": {"sha256": "01" * 32}},
        ],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {
                "id": "pkg:generic/backdoor-gate",
                "version": {"backdoor-gate": "0.1.0", "torch": "2.13.0+cpu" + "x" * 30},
            },
            "timeVerified": "2026-11-20T12:30:01Z",
            "resourceUri": "models:/digits/3",
            "policy": {"uri": "gate%20policy.yaml", "digest": {"sha256": "cd" * 32}},
            "verificationResult": "PASSED",
            "verifiedLevels": ["BACKDOOR_GATE_PASS"],
            "backdoorgate_scan": {
                "scanId": "0123456789abcdef",
                "verdict": "PASS",
                "expires": "2027-02-18T12:30:01Z",
                "entry": {"sha256": "45" * 32},
                "detectorPack": "2026.11",
                "measured": ["neural_cleanse"],
                "coverage": {"sha256": coverage_digest(report.coverage)},
                "calibrated": True,
                "references": {"sha256": "67" * 32},
                "falseBlockRate": 0.01,
                "isolation": "B",
                "seed": 7,
                "registered": {"created": "2026-11-20T09:08:07.654Z", "source": {"sha256": "23" * 32}},
            },
        },
    }


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_a_pass_is_passed(verdict: Verdict) -> None:
    predicate = json.loads(encode(audited(verdict)) or b"")["predicate"]
    passed = verdict is Verdict.PASS
    assert predicate["verificationResult"] == ("PASSED" if passed else "FAILED")
    assert predicate["verifiedLevels"] == (["BACKDOOR_GATE_PASS"] if passed else ["FAILED"])
    assert decode(encode(audited(verdict)) or b"").verdict == verdict


def test_a_statement_reads_back() -> None:
    report = audited()
    found = decode(encode(report) or b"")
    assert report.candidate
    assert (found.resource, found.digest) == ("models:/digits/3", report.candidate.digest)
    assert (found.architecture_digest, found.data_digest) == (report.architecture_digest, report.data_digest)
    assert (found.policy_digest, found.detector_pack) == (report.policy.digest, "2026.11")
    assert (found.scanned_at, found.expires_at) == (report.scanned_at.replace(microsecond=0), report.expires_at)
    assert (found.registered, found.entry_digest) == (REGISTERED, report.entry_digest)
    assert found.references_digest == report.references_digest
    parts = ("architecture_digest", "data_digest", "entry_digest", "references_digest")
    bare = decode(encode(replace(report, scan=None, **dict.fromkeys(parts))) or b"")
    assert [getattr(bare, part) for part in parts] == [None] * 4


def test_what_is_in_no_registry_was_never_registered() -> None:
    report = audited()
    assert report.candidate
    payload = encode(replace(report, candidate=replace(report.candidate, uri="/a/folder", registered=None))) or b""
    assert b"registered" not in payload
    assert decode(payload).registered is None


@pytest.mark.parametrize("name", ["a\ud800b", 'q"\\\n\x1b', "\u202e", "ü"])
def test_any_name_reads_back(name: str) -> None:
    assert decode(encode(audited(name=name)) or b"").resource == f"models:/{name}/3"


def test_no_bytes_no_statement(key: keys.SigningKey) -> None:
    assert Signer(key)(replace(audited(Verdict.REFUSED), candidate=None)) is None


@settings(deadline=None)
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_that_was_signed_is_no_statement(payload: bytes) -> None:
    with pytest.raises(NotVerifiedError, match="not a verification summary"):
        decode(payload)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"),
        ("verification_summary/v1", "verification_summary/v0.2"),
        ('"resourceUri":"models:/digits/3"', '"resourceUri":3'),
        ("2027-02-18T12:30:01Z", "2027-02-18T12:30:01"),
        ("2027-02-18T12:30:01Z", "never"),
        ("ab" * 32, "AB" * 32),
        ('"name":"model"', '"name":"other"'),
        ("backdoorgate_scan", "somebody_scan"),
        ("09:08:07.654Z", "09:08:07.654"),
        ('"2026-11-20T09:08:07.654Z"', "1795252087654"),
        ("23" * 32, "23" * 31),
        ("45" * 32, "45" * 31),
        ('"entry":{', '"entry":null,"other":{'),
        ("67" * 32, "67" * 31),
        ('"source":', '"place":'),
        ('"registered":{', '"registered":3,"other":{'),
    ],
)
def test_a_statement_of_another_shape_is_none(old: str, new: str) -> None:
    payload = (encode(audited()) or b"").decode()
    assert old in payload
    with pytest.raises(NotVerifiedError, match="not a verification summary"):
        decode(payload.replace(old, new).encode())


def test_the_coverage_digest_is_of_the_reports_coverage() -> None:
    found = {"tested": ["a: ü", "b"], "not_tested": ["c"]}
    text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert coverage_digest(Coverage(("a: ü", "b"), ("c",))) == expected


def test_the_longest_statement_fits_a_tag(key: keys.SigningKey) -> None:
    assert MAX_BYTES == MAX_VALUE
    usual = Signer(key)(audited())
    longest = Signer(key)(audited(name="\U0001f600" * 256))  # MLflow's longest name
    assert usual
    assert len(usual) < 2_500
    assert longest
    assert len(longest) <= MAX_BYTES
    with pytest.raises(OutputError, match="a tag holds 5000"):
        Signer(key)(audited(name="x" * 4000))


# ---------------------------------------------------------------------------------------------- keys


def test_a_pair_is_written_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made, public = keys.create_pair(tmp_path / "sub" / "gate.key")
    finally:
        os.umask(before)
    private = tmp_path / "sub" / "gate.key"
    assert public == tmp_path / "sub" / "gate.pub"
    assert private.stat().st_mode & 0o777 == 0o600
    assert keys.load_private(str(private)).public.id == keys.load_public(public).id == made.public.id
    assert sorted(path.name for path in private.parent.iterdir()) == ["gate.key", "gate.pub"]


@pytest.mark.parametrize("there", ["gate.key", "gate.pub"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(FileExistsError) as caught:
        keys.create_pair(tmp_path / "gate.key")
    assert Path(caught.value.filename).name == there
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / there).unlink()
    (tmp_path / there).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        keys.create_pair(tmp_path / "gate.key")
    assert not (tmp_path / "elsewhere").exists()


def test_many_first_uses_make_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(keys.user_key().public.id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "backdoor-gate").iterdir()] == ["gate.key"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_the_key_id_is_what_openssl_says(tmp_path: Path) -> None:
    made, public = keys.create_pair(tmp_path / "gate.key")
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert hashlib.sha256(der).hexdigest() == made.public.id


def test_no_secret_is_ever_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gate.key"
    key = keys.create(path)
    secret = "".join(path.read_text().splitlines()[1:-1])
    assert secret not in repr(key) + repr(Signer(key)) + str(vars(type(key)))
    for broken in (path.read_text()[:-30], path.read_text().replace("PRIVATE", "PUBLIC"), secret):
        monkeypatch.setenv("BROKEN_KEY", broken)
        with pytest.raises(UsageError) as caught:
            keys.load_private("env:BROKEN_KEY")
        assert str(caught.value).startswith("env:BROKEN_KEY: not an unencrypted ed25519 private key in PEM form")
        assert caught.value.__cause__ is None


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    form = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form)


def test_other_keys_are_refused(tmp_path: Path) -> None:
    wrong = {
        "rsa": pem(rsa.generate_private_key(65537, 2048)),
        "encrypted": pem(ed25519.Ed25519PrivateKey.generate(), b"password"),
        "public": keys.create(tmp_path / "gate.key").public.pem(),
        "empty": b"",
        "long": b"x" * 4096,
    }
    for name, content in wrong.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UsageError, match="not an unencrypted ed25519 private key"):
            keys.load_private(str(path))
    for name in ("rsa", "empty", "long", "gate.key"):
        with pytest.raises(UsageError, match="not an unencrypted ed25519 public key"):
            keys.load_public(tmp_path / name)
    (tmp_path / "longer").write_bytes(b"x" * 10_000)
    with pytest.raises(UsageError, match="longer: larger than 4 KiB"):
        keys.load_private(str(tmp_path / "longer"))
    with pytest.raises(UsageError, match="longer: larger than 4 KiB"):
        keys.load_public(tmp_path / "longer")


def test_a_key_that_is_no_file_is_a_usage_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "absent", tmp_path, tmp_path / "pipe"):
        for load in (keys.load_public, lambda path: keys.load_private(str(path))):
            with pytest.raises(UsageError, match=re.escape(str(place))):
                load(place)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError):
        keys.create_pair(tmp_path / "closed" / "gate.key")


def test_a_file_in_place_of_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backdoor-gate").write_text("mine")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(GateError):
        keys.user_key()


def test_where_no_key_can_be_kept_the_policy_can_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"name signing\.key in the policy, or set XDG_DATA_HOME"):
        keys.user_key()
