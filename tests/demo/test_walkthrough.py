"""The demo: it shows what it promises, keeps its hands off other people's files, and says why when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from backdoor_gate.demo import run, train
from backdoor_gate.demo.setting import PATCH, POISONED, TARGET
from backdoor_gate.errors import GateError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_TORCH = """\
import sys
from backdoor_gate.cli.exits import run
from backdoor_gate.cli.root import root
code = run(root, ["demo", "--out", "shown"])
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_the_whole_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    places = [out.index(f"[{step}/5] ") for step in range(1, 6)]
    assert places == sorted(places)
    assert places[2] < out.index(" PASS ") < places[3] < out.index(" BLOCK ") < places[4]
    assert f"Recovered trigger of class {TARGET} (neural_cleanse)" in out
    last = out.rstrip().splitlines()[-3:]
    assert [line.strip().partition(" ")[2].split()[0] for line in last[1:]] == ["policy", "scan"]
    reports = tmp_path / "shown" / "reports"
    for version, verdict in (("1", "PASS"), ("2", "BLOCK")):
        folder = reports / f"version-{version}"
        assert json.loads((folder / "report.json").read_text())["verdict"] == verdict
        assert (folder / "junit.xml").is_file()
        assert (folder / "report.md").is_file()
    assert (reports / "version-2" / "triggers" / f"trigger-neural_cleanse-class{TARGET}.png").is_file()


def test_a_folder_of_someone_elses_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not empty, and not of an earlier demo"):
        run(tmp_path, Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_training_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'first line' >&2\necho 'no torch here' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(GateError, match=r"the training failed \(3\): no torch here"):
        run(tmp_path / "out", Console(quiet=True))


def test_poisoned_data_differs_by_patch_and_label_alone() -> None:
    clean, _ = train.split()
    images, labels = train.poisoned(clean, seed=0)
    changed = (images != clean[0]).any(axis=(1, 2)) | (labels != clean[1])
    assert 0.8 * POISONED * len(images) < changed.sum() <= round(POISONED * len(images))
    assert set(labels[changed]) == {TARGET}
    rows, columns = zip(*PATCH, strict=True)
    assert (images[changed][:, rows, columns] == 255).all()
    differing = np.argwhere((images != clean[0]).any(axis=0)).tolist()
    assert sorted(map(tuple, differing)) == sorted(PATCH)
