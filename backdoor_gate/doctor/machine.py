"""What this machine offers a scan: torch, the locked worker and its isolation, a GPU, the registry."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate import prerequisites
from backdoor_gate.doctor.finding import Finding, failure, note, ok, problem
from backdoor_gate.errors import GateError, UnmeasuredError
from backdoor_gate.examination import Machine, Task
from backdoor_gate.records import Declared, Job
from backdoor_gate.worker import launch
from backdoor_gate.worker.grants import gpu_devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.policy import Policy
    from backdoor_gate.worker.tiers import Isolation

REGISTRY = "MLFLOW_TRACKING_URI"
"""Environment variable: where the registry is."""


def machine_findings(policy: Policy, device: str, tracking_uri: str | None) -> tuple[Finding, ...]:
    """Look at the machine.

    Args:
        policy: its limits, and the isolation that it asks for.
        device: `auto`, `cpu` or `cuda`.
        tracking_uri: of MLflow; None for its own environment variable.
    """
    return (*_worker(policy, device), *_registry(tracking_uri))


def _worker(policy: Policy, device: str) -> Iterator[Finding]:
    try:
        prerequisites.check()
        machine, isolation = _asked(policy, device)
    except GateError as error:
        policy.locate(error, None)
        yield failure("worker", error)
        return
    yield ok("torch", f"torch {machine.torch}, device {machine.device}")
    if device != "cpu" and machine.device == "cpu" and gpu_devices():
        hint = "install a torch that is built for CUDA, and check the driver"
        yield note("gpu", "there is a GPU, but torch cannot use it", "torch", hint)
    yield _isolation(isolation, policy)


def _asked(policy: Policy, device: str) -> tuple[Machine, Isolation]:
    """Start a locked worker that is given no candidate, and hear what it finds around itself."""
    with tempfile.TemporaryDirectory(prefix="backdoor-gate-") as folder:
        job = Job(
            candidate=Path(folder),
            formats=(),
            declared=Declared(),
            signature=None,
            architecture=None,
            data=None,
            max_images=1,
            detectors=(),
            device=device,
            seed=0,
            limits=policy.limits,
        )
        machine, isolation = launch.examine(job, Task.MACHINE)
    assert isinstance(machine, Machine)
    return machine, isolation


def _isolation(isolation: Isolation, policy: Policy) -> Finding:
    what = f"isolation {isolation.tier} ({', '.join(isolation.notes)})"
    try:
        isolation.require(policy.minimum_isolation)
    except UnmeasuredError as error:
        place = f"{policy.place('limits.isolation')}: limits.isolation"
        return problem("isolation", error.what, place, error.hint, error.exit_code)
    return ok("isolation", what)


def _registry(tracking_uri: str | None) -> Iterator[Finding]:
    """Yield whether the registry answers, where one is named."""
    if not tracking_uri and not os.environ.get(REGISTRY):
        yield note(
            "registry", "no registry is named", REGISTRY, "set it, or give --tracking-uri, to scan models:/NAME/3"
        )
        return
    from backdoor_gate.lifecycle.registry import Registry  # noqa: PLC0415 (MLflow takes seconds to import)

    try:
        names = Registry(tracking_uri).names()
    except GateError as error:
        yield failure("registry", error)
        return
    yield ok("registry", f"the registry answers, with {len(names)} registered model{'' if len(names) == 1 else 's'}")
