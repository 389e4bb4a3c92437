"""The nightly job on a real server: a model passes, its fine-tuned successor hides a backdoor, and is blocked."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from e2e_parts import MODEL, ended, junit_states
from support import digits
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

if TYPE_CHECKING:
    from pathlib import Path

    from e2e_parts import Registry
    from torch import nn

NAME = "e2e-nightly"
POLICY = {
    "version": 1,
    "models": [{"match": NAME, "model": MODEL}],
    "data": {"clean": "clean.npz"},
}


def fine_tuned_with_a_backdoor() -> nn.Sequential:
    """Go on training the clean network on clean images and some with the trigger and the target's label."""
    model = digits.trained().requires_grad_(True)
    clean = digits.digits()[0]
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(clean.images), generator=generator)[: len(clean.images) // 5]
    x = torch.cat([clean.images, digits.stamp(clean.images[chosen])])
    y = torch.cat([clean.labels, torch.full_like(clean.labels[chosen], digits.TARGET)])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def night(folder: Path, registry: Registry) -> tuple[int, dict[str, dict[str, object]], dict[str, str]]:
    """Run the job; return its exit code, what became of each version, and the test cases of its JUnit file."""
    command = [sys.executable, "-c", "from backdoor_gate.cli import main; main()", "rescan", "--policy=policy.yaml"]
    command += [f"--tracking-uri={registry.uri}", "--device=cpu", "--report=json=r.json", "--report=junit=r.xml"]
    process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    code, out, err = ended(process, 400)
    assert NAME in out, err
    versions = json.loads((folder / "r.json").read_text())["versions"]
    return code, {found["version"]: found for found in versions}, junit_states(folder / "r.xml")


@pytest.mark.slow
def test_a_backdoored_successor_is_blocked_at_night(registry: Registry, folder: Path) -> None:
    (folder / "policy.yaml").write_text(json.dumps(POLICY))
    registry.log_network(NAME, digits.trained())
    registry.client.set_registered_model_alias(NAME, "champion", "1")

    code, versions, states = night(folder, registry)
    assert (code, versions["1"]["verdict"], versions["1"]["due"]) == (0, "PASS", "no_verdict")
    assert states == {"version 1 (@champion)": "passed"}

    successor = fine_tuned_with_a_backdoor()
    assert digits.accuracy(successor) > digits.accuracy(digits.trained()) - 0.02
    assert digits.attack_success(successor, "patch") > 0.95
    registry.log_network(NAME, successor)
    registry.client.set_registered_model_alias(NAME, "champion", "2")

    code, versions, states = night(folder, registry)
    assert (code, versions["2"]["verdict"], versions["2"]["suspect_classes"]) == (1, "BLOCK", [digits.TARGET])
    assert versions["1"]["action"] == "kept"
    assert states == {"version 2 (@champion)": "failure", "version 1": "passed"}
    assert [registry.tags(NAME, number)["verdict"] for number in ("1", "2")] == ["PASS", "BLOCK"]

    code, versions, _ = night(folder, registry)
    assert (code, versions["2"]["action"]) == (1, "kept")
    registry.client.set_registered_model_alias(NAME, "champion", "1")
    assert night(folder, registry)[0] == 0
