"""How a class stands to every limit that holds for it: the one rule by which it is suspect, and by which it is scored.

Of the criteria (absolute size, share of the median and of the next class and of what the control leads one to expect,
anomaly index) the one that goes farthest counts, and only where the trigger works on held-out images and is weaker
than the clean images make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.catalogue import BY_NAME, Side
from backdoor_gate.plausible import WORKING_SUCCESS
from backdoor_gate.verdict.comparison import compared, ordinary
from backdoor_gate.verdict.limits import Excess, large_excesses, small_excesses
from backdoor_gate.verdict.scales import scale_of
from backdoor_gate.verdict.statistics import LEAST_SPREAD, critical_value, log_ratio, logarithm, outlier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.catalogue import DetectorSpec
    from backdoor_gate.records import Measured
    from backdoor_gate.verdict.comparison import Comparison
    from backdoor_gate.verdict.scales import Scale
    from backdoor_gate.verdict.statistics import Outlier


@dataclass(frozen=True, slots=True)
class Criteria:
    """One class with a working trigger, and how far it is beyond each of its limits.

    Attributes:
        among: the class among those that it is compared with.
        index: by the anomaly index; None where the class is not the most extreme, or none counts.
        limits: by the limits of the detector's own scale.
    """

    among: Comparison
    index: Excess | None
    limits: tuple[Excess, ...]

    @property
    def log_ratio(self) -> float | None:
        """How far the class is beyond the limit that it goes farthest beyond; None where no limit holds for it."""
        found = [each.log_ratio for each in (self.index, *self.limits) if each is not None]
        return min(max(found), self.among.unnatural) if found else None

    @property
    def words(self) -> tuple[str, ...]:
        """What speaks against the class, empty where nothing does: the index, and the first of the limits."""
        if self.among.natural:
            return ()
        limit = next((each for each in self.limits if each.counts), None)
        index = self.index if self.index is not None and self.index.counts else None
        return tuple(each.words for each in (index, limit) if each is not None)


def criteria(evidence: Measured, class_index: int, index: Excess | None) -> Criteria | None:
    """Return how a class stands to its limits; None where it is censored or its trigger does not work.

    Args:
        evidence: of a detector that measures classes.
        class_index: the class in question.
        index: by how much the most extreme class is beyond the critical anomaly index, see `index_excess`.
    """
    value = evidence.values[class_index]
    if value is None or not works(evidence, class_index):
        return None
    spec, among = BY_NAME[evidence.detector], compared(evidence, class_index)
    if spec.side is Side.SMALL:
        limits = small_excesses(
            among.scale, among.values, among.at, among.expected, few=among.few, searched=among.searched
        )
    else:
        limits = large_excesses(among.scale, among.values, among.at, few=among.few, searched=among.searched)
    extreme = (min if spec.side is Side.SMALL else max)(known for known in among.values if known is not None)
    counts = among.scale.outliers and value == extreme and value <= among.scale.comparable
    return Criteria(among, index if counts else None, limits)


def works(evidence: Measured, class_index: int) -> bool:
    """Tell whether the trigger works on held-out images, where the detector has one."""
    if evidence.success is None:
        return True
    rate = evidence.success[class_index]
    return rate is not None and rate >= WORKING_SUCCESS


def index_excess(evidence: Measured, rate: float) -> Excess | None:
    """Return by how much the most extreme class is beyond the critical anomaly index; None where there is no index.

    Args:
        evidence: of a detector that measures classes.
        rate: false-block rate of this detector's index alone, in (0, 0.5].
    """
    scale, values = scale_of(evidence), ordinary(evidence)
    found = most_extreme(values, BY_NAME[evidence.detector], scale)
    if found is None or not scale.outliers:
        return None
    critical = critical_value(len(values), rate)
    return Excess(log_ratio(found.index, critical), f"has anomaly index {found.index:.1f}, beyond {critical:.1f}")


def most_extreme(values: Sequence[float | None], spec: DetectorSpec, scale: Scale) -> Outlier | None:
    """Return the most extreme class on the scale on which a clean network's are near normal; None as of `outlier`."""
    small = spec.side is Side.SMALL
    if not scale.logarithm:
        return outlier(values, small=small)
    return outlier([logarithm(value) for value in values], small=small, least_spread=LEAST_SPREAD)
