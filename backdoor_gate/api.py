"""The gate as a Python function, for pipelines that are Python themselves."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.audit import audit
from backdoor_gate.errors import UsageError
from backdoor_gate.orders import Request
from backdoor_gate.policy import Policy, load
from backdoor_gate.policy.load import shipped
from backdoor_gate.sources import data_place, source_for
from backdoor_gate.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike

    from backdoor_gate.records import AuditReport, Progress

    Data = str | Path | tuple[ArrayLike, ArrayLike]

DEVICES = ("auto", "cpu", "cuda")
SEEDS = 2**32


def audit_model(  # noqa: PLR0913 (one argument per option of the command)
    model: str | Path,
    *,
    policy: str | Path | Policy | None = None,
    data: Data | None = None,
    budget: str | None = None,
    device: str = "auto",
    seed: int = 0,
    tracking_uri: str | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> AuditReport:
    """Audit one model exactly as `backdoor-gate scan --no-publish` does: same worker, same detectors, same verdict.

    Nothing is written: no report, no tag. On Linux, this process's memory and environment are closed to the user's
    other processes, and stay so.

    Args:
        model: `models:/name/3`, `models:/name@alias`, `models:/m-<id>`, `runs:/<id>/path`, or a local folder or file.
        policy: a policy file, or one that `backdoor_gate.policy.load` has read; None for the shipped policy.
        data: clean images in place of the policy's: a path or artifact URI, or a pair (images, labels) of arrays, uint8
            (N, H, W, C) or float (N, C, H, W) in the policy's range.
        budget: wall time such as `10m`, in place of the policy's `limits.time`.
        device: `auto`, `cpu` or `cuda`.
        seed: of probes, splits and trigger starts.
        tracking_uri: of MLflow; None for its environment variable.
        on_progress: called while the worker measures, about ten times a second at most.

    Returns:
        The report. A model passed only if `report.decision.verdict is Verdict.PASS`: whatever fails on the way
        (registry, worker, time, memory) is a report, too, with another verdict.

    Raises:
        UsageError: the call, the installation, the policy or the clean data is wrong; nothing was judged.
    """
    reference = str(model)
    if device not in DEVICES:
        raise UsageError(f"no device {device!r}", where="device", hint=f"use one of {', '.join(DEVICES)}")
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise UsageError(f"no seed {seed!r}", where="seed", hint=f"use a whole number from 0 to {SEEDS - 1}")
    with _local(data) as place:
        request = Request(reference, _policy(policy), place, _seconds(budget), device, seed)
        return audit(request, source_for(reference, tracking_uri), on_progress=on_progress).report


def _policy(given: str | Path | Policy | None) -> Policy:
    if isinstance(given, Policy):
        return given
    if given is not None:
        return load(Path(given))
    return shipped()


def _seconds(budget: str | None) -> float | None:
    if budget is None:
        return None
    try:
        return parse_duration(budget, least=1)
    except ValueError as error:
        raise UsageError(str(error), where="budget", hint=f"got {budget!r}") from error


@contextmanager
def _local(data: Data | None) -> Iterator[str | None]:
    """Yield the clean data as the audit takes them; arrays are a file while the block lasts."""
    if data is None:
        yield None
        return
    if isinstance(data, str | Path):
        yield data_place(str(data))
        return
    import numpy as np  # noqa: PLC0415

    images, labels = data
    with tempfile.TemporaryDirectory(prefix="backdoor-gate-data-") as folder:
        path = Path(folder) / "clean.npz"
        np.savez(path, images=np.asarray(images), labels=np.asarray(labels))
        yield str(path)
