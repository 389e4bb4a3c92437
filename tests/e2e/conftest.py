"""A pipeline around a real MLflow server: a clean and a backdoored network in its registry, and a policy for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from e2e_parts import ARCHITECTURE, BADNETS, CLEAN, MODEL, WEIGHTS, Registry, check_plain, clean_images, weights_of
from support import digits

from backdoor_gate.cli import exits
from backdoor_gate.cli.root import root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from e2e_parts import Gate, Start, WritePolicy


@pytest.fixture(scope="session")
def registry(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The server with one version of each of the three models."""
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    client = MlflowClient(mlflow_server)
    run = client.create_run(client.create_experiment("e2e"))
    found = Registry(mlflow_server, client, run.info.run_id, tmp_path_factory.mktemp("e2e"))
    found.log_network(CLEAN, digits.trained())
    found.log_network(BADNETS, digits.trained("patch"))
    found.add_weights(WEIGHTS, weights_of(digits.trained()))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with clean images and the pipeline's own code; no MLflow or GitHub variable is set."""
    monkeypatch.chdir(tmp_path)
    for key in [key for key in os.environ if key.startswith(("MLFLOW_", "GITHUB_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "digits_net.py").write_text(ARCHITECTURE)
    images, labels = clean_images()
    np.savez(tmp_path / "clean.npz", images=images, labels=labels)
    return tmp_path


@pytest.fixture
def policy(folder: Path) -> WritePolicy:
    """Write a policy and return its path; without detectors it is the shipped set."""

    def write(model: Mapping[str, Any] = MODEL, data: str = "clean.npz", detectors: Any = None) -> str:
        content = {"version": 1, "model": model, "data": {"clean": data}}
        (folder / "policy.yaml").write_text(json.dumps(content | ({"detectors": detectors} if detectors else {})))
        return "policy.yaml"

    return write


@pytest.fixture
def gate(folder: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> Gate:
    """Call `scan` against the registry; returns exit code, standard output and standard error."""
    assert folder.is_dir()

    def call(*arguments: str, uri: str = registry.uri) -> tuple[int, str, str]:
        capsys.readouterr()
        code = exits.run(root, ("scan", *arguments, f"--tracking-uri={uri}", "--device=cpu", "--quiet"))
        captured = capsys.readouterr()
        check_plain(captured.out + captured.err)
        return code, captured.out, captured.err

    return call


@pytest.fixture
def start(folder: Path, registry: Registry) -> Iterator[Start]:
    """Start `scan` against the registry as a program of its own."""
    processes = []

    def call(*arguments: str, uri: str = registry.uri, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-c", "from backdoor_gate.cli import main; main()", "scan", *arguments]
        process = subprocess.Popen(
            [*command, f"--tracking-uri={uri}", "--device=cpu"],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield call
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def no_space(folder: Path) -> tuple[tuple[str, ...], Path]:
    """A command to put before another, for which the folder that comes with it is a full disk."""
    full = folder / "full"
    full.mkdir()
    mount = f'mount -t tmpfs -o size=4k none "{full}" && head -c 8192 /dev/zero > "{full}/x" 2>/dev/null; exec "$@"'
    before = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if shutil.which("unshare"):
        space = subprocess.run([*before, "df", full], check=False, capture_output=True).stdout
        if b" 100% " in space:
            return before, full
    pytest.skip("this machine does not let us mount a disk of our own")
