"""The worker's other tasks: what there is around it, what a candidate's bytes say, how a candidate takes its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backdoor_gate.examination import Machine, Task
from backdoor_gate.scan.examination.diagnosis import diagnose
from backdoor_gate.scan.examination.inspection import inspect
from backdoor_gate.scan.machine import choose_device, device_name

if TYPE_CHECKING:
    from backdoor_gate.examination import Examination
    from backdoor_gate.records import Job


def examine(job: Job, task: Task) -> Examination:
    """Do one task; raises as `session.measure`."""
    if task is Task.MACHINE:
        return Machine(torch.__version__, device_name(choose_device(job.device)))
    if task is Task.INSPECTION:
        return inspect(job)
    return diagnose(job)
