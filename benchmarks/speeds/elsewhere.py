"""What a scan asks of another device: how many operators, and how often it waits. Counted on a pretended one."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch

from backdoor_gate.scan import session
from benchmarks import pretended
from benchmarks.speeds.networks import KINDS
from benchmarks.speeds.whole import done, prepared

ACTIVATIONS = 16 << 30
"""Bytes that activations may take, as on a GPU: then all arms of a search share a batch."""


def elsewhere(name: str, seed: int) -> dict[str, Any]:
    """Scan an untrained network on a pretended device, and count."""
    memory = mock.patch.object(session, "free_for_activations", return_value=ACTIVATIONS)
    with memory, pretended.usable() as device:
        subject, split = prepared(name, seed, device)
        with pretended.counted() as counts:
            detectors = done(subject, split, seed)["detectors"]
    return {
        "network": KINDS[name].title,
        "operators": counts.operators,
        "waits": counts.waits.total(),
        "waits_by_operator": dict(counts.waits.most_common()),
        "passes": sum(row["passes"] for row in detectors.values()),
        "threads": torch.get_num_threads(),
    }
