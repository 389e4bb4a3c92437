"""What a policy decides about judging: the false-block rate, which detectors must answer, how much may stay open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backdoor_gate.verdict.references import References


@dataclass(frozen=True, slots=True)
class Judgement:
    """The policy's part in a decision.

    Attributes:
        false_block_rate: of the whole decision, all detectors together; in (0, 0.5].
        required: names of the detectors without whose evidence there is no PASS, in catalogue order.
        max_unmeasured: share of classes in [0, 1) that may stay unmeasured before a measurement counts as missing.
        references: known-good models to rank among; None for the shipped limits alone.
        references_digest: of their file.
        references_unfit: why they do not compare with this policy's measurements; empty where they do.
        ours: references of the gate's own networks, which inform where the policy names none.
    """

    false_block_rate: float
    required: tuple[str, ...]
    max_unmeasured: float
    references: References | None = None
    references_digest: str = ""
    references_unfit: str = ""
    ours: References | None = None

    def for_candidate(self, digest: str) -> Judgement:
        """Return the judgement of these bytes: a model is not its own reference."""
        references, ours = (each and each.without(digest) for each in (self.references, self.ours))
        return replace(self, references=references, ours=ours)

    @property
    def limits_rate(self) -> float:
        """False-block rate of the shipped limits: no looser than that which the references were judged by."""
        if self.references is None:
            return self.false_block_rate
        return min(self.false_block_rate, self.references.false_block_rate)
