"""`key new`, and `signing` in a policy as the commands meet it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.publishers.attestation import keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Gate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Gate) -> Gate:
    """Call the program in a folder of its own; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return program


def test_a_new_pair(gate: Gate, tmp_path: Path) -> None:
    code, out, err = gate("key", "new")
    assert (code, err) == (0, "")
    key = keys.load_public(tmp_path / "gate.pub")
    assert out.splitlines() == [
        "gate.key: private key, written for you only; keep it out of the repository",
        f"gate.pub: public key {key.id}",
        "Name both in the policy:",
        "  signing: {key: gate.key, trusted: [gate.pub]}",
    ]
    assert (tmp_path / "gate.key").read_text().splitlines()[1] not in out


def test_a_pair_is_never_overwritten(gate: Gate, tmp_path: Path) -> None:
    assert gate("key", "new", "--output=keys/a.key")[0] == 0
    before = (tmp_path / "keys" / "a.key").read_bytes()
    line = "error: keys/a.key: exists; choose another name; a key in use is never overwritten\n"
    assert gate("key", "new", "--output=keys/a.key") == (2, "", line)
    assert (tmp_path / "keys" / "a.key").read_bytes() == before
    assert gate("key", "new", "--output=a.pub")[::2] == (
        2,
        "error: a.pub: not a name for a private key; choose one such as gate.key\n",
    )


def test_a_place_that_cannot_be_written(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = gate("key", "new", "--output=file/gate.key")
    assert (code, out) == (5, "")
    assert err.startswith("error: file/gate.key: cannot be written")


def test_policy_check_reads_the_keys(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nsigning: {key: env:GATE_KEY, trusted: [gate.pub]}\n")
    code, _, err = gate("policy", "check", "p.yaml")
    assert (code, "signing.trusted: no such file" in err) == (2, True)
    (tmp_path / "gate.pub").write_text("no key")
    code, _, err = gate("policy", "check", "p.yaml")
    assert (code, "gate.pub: not an unencrypted ed25519 public key" in err) == (2, True)
    (tmp_path / "gate.pub").unlink()
    gate("key", "new")
    code, out, _ = gate("policy", "check", "p.yaml")
    assert code == 0
    assert "  signing       env:GATE_KEY; trusted: gate.pub\n" in out


POLICY = "version: 1\nmodel: {architecture: 'a:b'}\nsigning: {key: env:GATE_KEY, trusted: [gate.pub]}\n"


def test_a_scan_that_could_not_sign_does_not_start(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate("key", "new")
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "model").mkdir()
    monkeypatch.delenv("GATE_KEY", raising=False)
    for arguments in (["models:/digits/1", "--tracking-uri=sqlite:///none.db"], ["model", "--statement=s.json"]):
        code, out, err = gate("scan", *arguments, "--policy=p.yaml")
        assert (code, out) == (2, "")
        assert err.startswith("error: env:GATE_KEY: the environment variable is not set; ")
    monkeypatch.setenv("GATE_KEY", (tmp_path / "gate.key").read_text())
    assert gate("scan", "models:/digits/1", "--tracking-uri=sqlite:///none.db", "--policy=p.yaml", "--quiet")[0] == 4


def test_an_older_statement_does_not_stay(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "s.json").write_text("older")
    assert gate("scan", "model", "--policy=p.yaml", "--quiet", "--statement=s.json")[0] == 3
    assert not (tmp_path / "s.json").exists()


def test_a_refused_candidate_is_signed_as_failed(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nmodel: {num_classes: 10, input: {shape: [1, 8, 8]}}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.safetensors").write_bytes(b"no weights")
    assert gate("scan", "model", "--policy=p.yaml", "--quiet", "--statement=s.json", "--device=cpu")[0] == 3
    assert set(json.loads((tmp_path / "s.json").read_text())) == {"payload", "payloadType", "signatures"}
    code, out, err = gate("verify", "model", "--policy=p.yaml", "--statement=s.json")
    assert (code, out) == (6, "")
    assert re.fullmatch(r"error: /\S+/model: the result is REFUSED, not PASS; read in that scan's report why\n", err)


def test_the_key_is_not_in_the_workers_environment(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backdoor_gate.worker.environment import scrubbed  # noqa: PLC0415

    assert gate("key", "new")[0] == 0
    monkeypatch.setenv("GATE_KEY", (tmp_path / "gate.key").read_text())
    secret = (tmp_path / "gate.key").read_text().splitlines()[1]
    assert secret not in str(scrubbed(tmp_path, "cpu"))


@pytest.mark.parametrize("command", ["key", "verify", "promote"])
def test_help_loads_no_library_for_keys(command: str) -> None:
    program = (
        "import sys\nfrom backdoor_gate.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert {"cryptography", "mlflow", "pydantic", "yaml", "rich"} & set(done.stderr.split()) == set()
