"""The table's form: what a hostile input is, where it is made, and how a scan of it must end."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import tiny_network
from support.forging import touching

from backdoor_gate.scan import session
from backdoor_gate.worker.main import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from support.forging import Payload

    from backdoor_gate.records import Job, Progress, Scan

USAGE, REFUSED, UNMEASURED, UNWRITTEN, UNVERIFIED = 2, 3, 4, 5, 6
"""Exit codes of the contract."""
MLMODEL = """\
flavors:
  python_function: {data: data, loader_module: mlflow.pytorch}
  pytorch: {code: null, model_data: data}
"""


@dataclass
class Bench:
    """A working folder: a candidate to be made hostile, a policy for it, and a file that only a payload would make."""

    folder: Path
    patch: pytest.MonkeyPatch
    policy: dict[str, Any] = field(
        default_factory=lambda: {
            "version": 1,
            "model": {
                "architecture": "tiny_net:build",
                "architecture_path": "nets",
                "num_classes": 10,
                "input": {"shape": [1, 8, 8]},
            },
            "detectors": {"max_margin": {"restarts": 1, "steps": 5}},
        }
    )

    def __post_init__(self) -> None:
        """Make the folders and the trusted network."""
        self.candidate.mkdir()
        (self.folder / "nets").mkdir()
        (self.folder / "nets" / "tiny_net.py").write_text(tiny_network.SOURCE)

    @property
    def candidate(self) -> Path:
        """Folder that is scanned."""
        return self.folder / "model"

    @property
    def marker(self) -> Path:
        """File that must never appear."""
        return self.folder / "payload-ran"

    @property
    def payload(self) -> Payload:
        """An object whose unpickling would make the marker."""
        return touching(self.marker)

    def put(self, name: str, data: bytes | str) -> None:
        """Write a file of the candidate."""
        path = self.candidate / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    def write_policy(self) -> None:
        """Write the policy, unless the input is the policy itself."""
        path = self.folder / "policy.yaml"
        if self.policy:
            path.write_text(json.dumps(self.policy))


@dataclass(frozen=True)
class Row:
    """One hostile input.

    Attributes:
        number: in the list of inputs.
        what: the input in a few words.
        code: exit code that a scan of it must have.
        words: what its message must say.
        make: puts it on the bench; None where other tests hold it already.
        covered_by: those tests, as `path::name`.
        own_process: whether the real worker must be started for it, as nothing may run in this process.
        reason: why there is nothing to test, for rows without either.
    """

    number: int
    what: str
    code: int
    words: str
    make: Callable[[Bench], object] | None = None
    covered_by: tuple[str, ...] = ()
    own_process: bool = False
    reason: str = ""

    def __str__(self) -> str:
        """Name the row in a test's identifier."""
        return f"{self.number:02d} {self.what}"


def weights(name: str, data: bytes | Callable[[Bench], bytes]) -> Callable[[Bench], None]:
    """Return what makes a candidate of one file."""
    return lambda bench: bench.put(name, data if isinstance(data, bytes) else data(bench))


def in_this_process(job: Job, on_progress: Callable[[Progress], None], *, minimum: str) -> Scan:
    """Stand in for the worker's process, whose start would take most of the time, with all that it does."""
    assert minimum
    try:
        return session.measure(job, on_progress)
    except Exception as error:
        raise explain(error) from error


def children() -> str:
    """Return the numbers of this process's children, where the system tells."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return path.read_text() if path.exists() else ""
