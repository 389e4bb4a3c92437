"""A candidate is data first, and code only where the policy allows that and it cannot be had otherwise."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.worker import tiers

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.records import Job

T = TypeVar("T")


def as_data_first(job: Job, unsafe: tuple[str, ...], minimum: str, ask: Callable[[Job, str], T]) -> tuple[T, bool]:
    """Ask the worker; once more, on the formats that can run code, where it refused the candidate as data.

    So whether the candidate's code could run is this side's own knowledge, not the word of a worker that it ran in.

    Args:
        job: what to ask about, with the formats that are data.
        unsafe: formats besides, which can run the candidate's code.
        minimum: weakest isolation tier that will do for data; code gets no less than tier B.
        ask: takes the job and the tier.

    Returns:
        The answer, and whether the candidate's code could run.

    Raises:
        RefusedError: the candidate's bytes are not acceptable, and no format besides is.
        UnmeasuredError: code would have to run where it may not.
    """
    deadline = time.monotonic() + job.limits.seconds
    try:
        return ask(job, minimum), False
    except RefusedError as refusal:
        if not unsafe or (job.device == "cuda" and refusal.executable not in unsafe):
            raise
    if job.device == "cuda":
        raise UnmeasuredError("a candidate that can run code gets no GPU", hint="use --device cpu")
    left = max(1, round(deadline - time.monotonic()))
    again = replace(job, formats=(*job.formats, *unsafe), device="cpu", limits=replace(job.limits, seconds=left))
    return ask(again, min(minimum, tiers.B)), True
