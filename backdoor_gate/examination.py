"""What the worker is asked besides a scan, and the facts that it answers with.

Facts only: what they mean is said outside the worker, in `doctor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec


class Task(StrEnum):
    """What one worker run is for."""

    SCAN = "scan"
    MACHINE = "machine"
    INSPECTION = "inspection"
    DIAGNOSIS = "diagnosis"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the locked child found around itself: torch's version, and the device that it would use."""

    torch: str
    device: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a candidate's bytes say of it."""

    format: str
    """Of the weights: `safetensors`, `state_dict` or `pt2`."""
    graph: bool
    """Whether they hold the network's graph, not weights alone."""
    fixed_batch: int | None
    """The only batch size that the graph takes; None for any, and without a graph."""
    shape: tuple[int, int, int] | None
    """(C, H, W) of one image, where the graph fixes it."""
    num_classes: int | None
    """From the graph's output; without a graph, from the one linear layer that feeds no other."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """One way to turn stored images into what the network is given, in the words of a policy.

    Bytes are brought to [`low`, `high`], floats are taken as they are; then `mean` and `std` (one value per channel)
    are applied, if any.
    """

    low: float
    high: float
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    reversed: bool = False
    """Whether the channels come in the reverse of the stored order (RGB as BGR)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the network says of the images under one preparation."""

    preparation: Preparation
    predicted: tuple[int, ...]
    """Class of each image that was tried; empty where the network's output was of no use."""
    losses: tuple[float, ...] = ()
    """Cross-entropy of each of them with its label, at the temperature under which their mean is least: it says how
    well the input suits the network where the class does not change, and not how sure the network is. Empty without
    labels or a useful output."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a scan would not measure a network that takes its images well, and what to do next."""

    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How a candidate takes the clean images, or random ones where there are none."""

    format: str
    num_classes: int
    input: InputSpec
    """As the policy, the data and the signature have it."""
    images: int
    """Clean images in the scan's sample; 0 for none."""
    available: int
    """Clean images there were before the sample was taken."""
    whole_numbers: bool
    """Whether they are stored as uint8, which a scan brings to the input range by itself."""
    lowest: float
    highest: float
    """Smallest and largest stored value."""
    labels: tuple[int, ...] | None
    """Of the sample; the trials used the first of them. None: the data has none."""
    trials: tuple[Trial, ...]
    """The preparation that a scan would use first."""
    margins: tuple[float, ...]
    """Difference of the two largest logits of each image that was tried as a scan would."""
    gradients: tuple[float | None, ...]
    """Largest change of the loss by a pixel over the input range, for some images; None where it is not finite."""
    probabilities: bool
    """Whether the network gives probabilities instead of logits."""
    fault: Fault | None = None
    """That what it computes hangs on rounding, or on the other images of a batch."""


Examination = Machine | Inspection | Diagnosis
