"""Sound and hostile inputs changed at random and scanned by command: refused in one line, and never a pass.

The parsers by themselves are fuzzed beside their other tests: tests/scan/loading/test_loading_fuzz.py (weights, graphs,
pickles, JSON), tests/worker/test_listener.py and test_wire.py (the channel), tests/scan/data/test_clean.py (clean
images).
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from support.forging import exported, legacy, pickled, saved, state_archive, touching
from support.mutations import Changes, edited, edits
from support.small_networks import Plain
from table import MLMODEL, Bench, in_this_process

from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root
from backdoor_gate.errors import UnmeasuredError, UsageError
from backdoor_gate.policy.load import parse
from backdoor_gate.policy.template import SHIPPED
from backdoor_gate.scan import session
from backdoor_gate.worker import launch

if TYPE_CHECKING:
    from collections.abc import Iterator

torch.set_num_threads(1)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SCAN = ("scan", "model", "--policy=policy.yaml", "--no-publish", "--quiet", "--device=cpu")
SECONDS = 10
MARKER = "payload-ran"


@cache
def seeds() -> dict[str, bytes]:
    """Return sound files and ones with a payload, by the name that they have in the candidate."""
    torch.manual_seed(0)
    state = {"1.weight": torch.rand(10, 64), "1.bias": torch.zeros(10)}
    payload = touching(Path(MARKER))
    return {
        "model.safetensors": save(state),
        "model.pth": saved(state),
        "model.pt2": exported(Plain().eval()),
        "payload.pth": saved({"w": payload}),
        "legacy.pth": legacy(payload),
        "archive.pth": state_archive(pickled(payload)),
        "pickle.pkl": pickled(payload, 4),
        "MLmodel": MLMODEL.encode(),
    }


@pytest.fixture(autouse=True, scope="module")
def nothing_is_measured() -> Iterator[None]:
    """Everything up to the first measurement, in this process: what gets that far is INCONCLUSIVE."""

    def run_detectors(*_: object) -> None:
        raise UnmeasuredError("far enough")

    paths, folder = sys.path.copy(), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "run", in_this_process)
        patch.setattr(session, "run_detectors", run_detectors)
        patch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        yield
    sys.path[:] = paths
    os.chdir(folder)


def scanned(name: str, data: bytes, others: dict[str, bytes] | None = None) -> str:
    """Scan a candidate with this file; return what was said."""
    out, before = io.StringIO(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        bench = Bench(Path(folder), patch)
        bench.write_policy()
        for other, content in {**(others or {}), name: data}.items():
            bench.put(other, content)
        os.chdir(folder)
        started = time.monotonic()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = exits.run(root, SCAN)
        finally:
            os.chdir(before)
            sys.modules.pop("tiny_net", None)
        assert time.monotonic() - started < SECONDS
        assert not Path(folder, MARKER).exists()
    said = out.getvalue()
    assert code in {3, 4}, said
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    return said


@pytest.mark.parametrize("name", [name for name in seeds() if name != "MLmodel"])
@FEW
@given(changes=edits)
def test_changed_weights(name: str, changes: Changes) -> None:
    scanned(name, edited(seeds()[name], changes))


@FEW
@given(changes=edits)
def test_a_changed_mlmodel_beside_sound_weights(changes: Changes) -> None:
    scanned("MLmodel", edited(seeds()["MLmodel"], changes), {"data/model.pt2": seeds()["model.pt2"]})


@FEW
@given(data=st.binary(max_size=300), name=st.sampled_from(["a.pth", "a.safetensors", "a.pt2", "a", "MLmodel"]))
def test_any_bytes(data: bytes, name: str) -> None:
    scanned(name, data)


def test_the_unchanged_files_get_as_far_as_they_should() -> None:
    far = {name: "far enough" in scanned(name, data) for name, data in seeds().items() if name != "MLmodel"}
    assert {name for name, reached in far.items() if reached} == {"model.safetensors", "model.pth"}


@MANY
@given(changes=edits)
def test_a_changed_policy(changes: Changes) -> None:
    content = SHIPPED.read_bytes().replace(b"\n  # ", b"\n  ").replace(b"\n# ", b"\n")
    said = ""
    try:
        parse(edited(content, changes), Path("policy.yaml"))
    except UsageError as error:
        said = str(error)
    assert said.isprintable()
