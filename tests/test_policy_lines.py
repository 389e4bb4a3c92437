"""Errors about a policy key name the line where it stands, also where it proves wrong only after the file was read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.audit import audit
from backdoor_gate.errors import GateError, UnmeasuredError, UsageError
from backdoor_gate.orders import Request
from backdoor_gate.policy.load import parse
from backdoor_gate.sources import source_for

if TYPE_CHECKING:
    from backdoor_gate.policy import Policy

POLICY = """\
version: 1
models:
  - match: "digits-*"
    model:
      num_classes: 10
      input:
        shape: [1, 8, 8]
  - match: "*"
    data: {clean: other.npz}
data:
  clean: none.npz
"""


def policy() -> Policy:
    return parse(POLICY.encode(), Path("gate.yaml"))


@pytest.mark.parametrize(
    ("key", "name", "place"),
    [
        ("model.input.shape", "digits-a", "gate.yaml:7"),
        ("model.input.range", "digits-a", "gate.yaml:6"),
        ("model.architecture", "digits-a", "gate.yaml:4"),
        ("model.architecture", "faces", "gate.yaml:8"),
        ("data.clean", "digits-a", "gate.yaml:11"),
        ("data.clean", "faces", "gate.yaml:9"),
        ("data.max_images", None, "gate.yaml:10"),
        ("limits.isolation", "digits-a", "gate.yaml"),
    ],
)
def test_a_key_stands_in_its_own_line_or_below_the_nearest_one(key: str, name: str | None, place: str) -> None:
    assert policy().place(key, name) == place


def located(error: GateError) -> str:
    policy().locate(error, "digits-a")
    return str(error)


def test_only_errors_about_keys_are_located() -> None:
    assert located(UnmeasuredError("unknown", where="model.input.shape", hint="state it")) == (
        "gate.yaml:7: model.input.shape: unknown; state it"
    )
    for where in ("models:/digits/3", "model/weights.pt", "", "torch", "model.safetensors", "model.pt2", "data.npz"):
        error = UsageError("no", where=where)
        assert located(error) == str(UsageError("no", where=where))


def test_an_audit_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-a").mkdir()
    with pytest.raises(UsageError, match=r"none\.npz: no such file or folder; correct data\.clean in gate\.yaml:11$"):
        audit(Request("digits-a", policy()), source_for("digits-a"))
