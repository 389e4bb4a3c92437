"""What a policy decides about judging: the false-block rate, which detectors must answer, how much may stay open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """The policy's part in a decision.

    Attributes:
        false_block_rate: of the whole decision, all detectors together; in (0, 0.5].
        required: names of the detectors without whose evidence there is no PASS, in catalogue order.
        max_unmeasured: share of classes in [0, 1) that may stay unmeasured before a measurement counts as missing.
    """

    false_block_rate: float
    required: tuple[str, ...]
    max_unmeasured: float
