"""The parent's second message to the child, once that is locked down: the job as JSON, and the deadline."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backdoor_gate.candidate_facts import Signature, TensorSignature
from backdoor_gate.catalogue import DetectorPlan
from backdoor_gate.errors import UsageError
from backdoor_gate.examination import Task
from backdoor_gate.records import Architecture, Declared, Job, Limits


def encode(job: Job, deadline: float, task: Task = Task.SCAN) -> bytes:
    """Return the message that orders `job` until `deadline` on the clock of `time.monotonic`, which processes share.

    Args:
        job: what to load, and how.
        deadline: when the answer must be there.
        task: what to do with it.

    Raises:
        UsageError: an argument of the architecture is no JSON value.
    """
    try:
        return json.dumps(
            {"deadline": deadline, "task": task, "job": asdict(job)}, default=_path, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        where, hint = (
            "model.architecture_kwargs",
            "use only texts, finite numbers, true, false, null, lists and mappings",
        )
        raise UsageError("not a JSON value", where=where, hint=hint) from error


def decode(message: bytes) -> tuple[Job, float, Task]:
    """Return job, deadline and task of a message that `encode` wrote; the parent is trusted."""
    document = json.loads(message)
    job = document["job"]
    order = Job(
        candidate=Path(job["candidate"]),
        formats=tuple(job["formats"]),
        declared=Declared(**{key: _tuple(value) for key, value in job["declared"].items()}),
        signature=job["signature"] and Signature(*(_tensor(job["signature"][end]) for end in ("input", "output"))),
        architecture=job["architecture"] and _architecture(job["architecture"]),
        data=job["data"] and Path(job["data"]),
        max_images=job["max_images"],
        detectors=tuple(DetectorPlan(**plan) for plan in job["detectors"]),
        device=job["device"],
        seed=job["seed"],
        limits=Limits(**job["limits"]),
        weights_in=job["weights_in"],
    )
    return order, document["deadline"], Task(document["task"])


def _path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tensor(tensor: dict[str, Any] | None) -> TensorSignature | None:
    return TensorSignature(shape=tuple(tensor["shape"]), dtype=tensor["dtype"]) if tensor else None


def _architecture(value: dict[str, Any]) -> Architecture:
    return Architecture(
        target=value["target"],
        search_path=value["search_path"] and Path(value["search_path"]),
        kwargs=tuple((name, argument) for name, argument in value["kwargs"]),
        digest=value["digest"],
    )
