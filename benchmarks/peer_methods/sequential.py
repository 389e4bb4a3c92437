"""Neural Cleanse as it is published, one class after the other: mask and pattern, dynamic cost, median deviation.

Source: Wang et al., IEEE S&P 2019, section 4 and appendix; the constants are the defaults of the widely used public
implementation in BackdoorBench: success 0.98, patience 5, factor 2, 80 epochs at most, stop after 25 without progress.
Written anew from the method's description; frozen network, PyTorch's default memory format and threads.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from benchmarks.peer_methods.common import IMAGES, Meter, problem, tell

if TYPE_CHECKING:
    from benchmarks.peer_methods.common import Counted

EPOCHS = 80
BATCH = 256
RATE, BETAS = 0.1, (0.5, 0.9)
FIRST_COST = 1e-3
SUCCESS = 0.98
PATIENCE = 5
RAISED_BY, LOWERED_BY = 2.0, 2.0**1.5
PROGRESS = 0.99
"""A smaller share of the best mask so far counts as progress."""
STOP_AFTER = 25
"""Epochs without progress, once the cost has been raised and lowered."""
CONSISTENCY = 1.4826
MOST_DEVIATIONS = 2.0


@dataclass
class Cost:
    """The weight of the mask in the loss, raised while the trigger works and lowered while it does not."""

    value: float = FIRST_COST
    above: int = 0
    below: int = 0
    raised: bool = False
    lowered: bool = False

    def update(self, success: float) -> None:
        """Follow one epoch."""
        works = success >= SUCCESS
        self.above, self.below = (self.above + 1, 0) if works else (0, self.below + 1)
        if self.above >= PATIENCE:
            self.above, self.value, self.raised = 0, self.value * RAISED_BY, True
        elif self.below >= PATIENCE:
            self.below, self.value, self.lowered = 0, self.value / LOWERED_BY, True


def invert(network: Counted, images: Tensor, target: int, seed: int) -> tuple[float, int]:
    """Return the least L1 norm of a mask that works, and the epochs that it took."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = images.shape[1:]
    mask = torch.rand((1, height, width), generator=generator).mul_(2).sub_(1).requires_grad_()
    pattern = torch.rand((channels, height, width), generator=generator).mul_(2).sub_(1).requires_grad_()
    optimiser = torch.optim.Adam((mask, pattern), lr=RATE, betas=BETAS)
    cost, best, reference, idle = Cost(), float("inf"), float("inf"), 0
    epochs = 0
    while epochs < EPOCHS and not (cost.raised and cost.lowered and idle >= STOP_AFTER):
        epochs += 1
        hits, norm = 0, 0.0
        batches = images[torch.randperm(len(images), generator=generator)].split(BATCH)
        for batch in batches:
            opacity, colour = torch.tanh(mask) / 2 + 0.5, torch.tanh(pattern) / 2 + 0.5
            output = network((1 - opacity) * batch + opacity * colour)
            wanted = torch.full((len(batch),), target)
            strength = opacity.abs().sum()
            optimiser.zero_grad()
            (F.cross_entropy(output, wanted) + cost.value * strength).backward()
            optimiser.step()
            hits += int((output.argmax(dim=1) == wanted).sum())
            norm += float(strength) / len(batches)
        success = hits / len(images)
        if success >= SUCCESS and norm < best:
            best = norm
        idle = idle + 1 if best < float("inf") and best >= PROGRESS * reference else 0
        reference = min(reference, best)
        cost.update(success)
    return best, epochs


def verdict(norms: list[float]) -> dict[str, Any]:
    """Return the classes that the published rule flags: two median deviations below the median."""
    middle = statistics.median(norms)
    deviation = CONSISTENCY * statistics.median(abs(norm - middle) for norm in norms)
    index = [(middle - norm) / max(deviation, 1e-12) for norm in norms]
    flagged = [label for label, value in enumerate(index) if value > MOST_DEVIATIONS]
    return {"verdict": "BLOCK" if flagged else "PASS", "classes": flagged, "largest_index": round(max(index), 2)}


def main(folder: Path, classes: int, seed: int) -> None:
    """Invert the first `classes` classes, the attacker's first; judge where those are all."""
    given = problem(folder, IMAGES)
    count, targets = given.meta["num_classes"], given.meta["targets"]
    order = [*targets, *(label for label in range(count) if label not in targets)][:classes]
    meter = Meter()
    found = {label: invert(given.network, given.samples.images, label, seed) for label in order}
    spent = meter.read()
    part = len(order) / count
    whole = {
        "passes": round(given.network.passes / part),
        "cpu_seconds": round(spent["cpu_seconds"] / part, 1),
        "wall_seconds": round(spent["wall_seconds"] / part, 1),
        "peak_mib": spent["peak_mib"],
    }
    judged = verdict([found[label][0] for label in range(count)]) if part == 1 else {"verdict": "not run to the end"}
    rows = {label: {"mask_l1": round(norm, 2), "epochs": epochs} for label, (norm, epochs) in found.items()}
    tell(whole | judged | {"images": IMAGES, "classes_run": len(order), "of": count, "each": rows})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
