"""Pairs of a source and a target class: which of them count as planted, by what their residuals leave, and why."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.records import Status
from backdoor_gate.verdict.limits import OF_CONTROL
from backdoor_gate.verdict.pair_residuals import best_map, looks_at_pairs, residuals, residuals_at_second_sight
from backdoor_gate.verdict.scales import PairScale, pair_scale_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backdoor_gate.records import DetectorResult, Measured
    from backdoor_gate.trigger_facts import Pair
    from backdoor_gate.verdict.confirm import SecondLook, Way
    from backdoor_gate.verdict.pair_residuals import Residuals

MAPPED = 0.7
"""Share of the usual strength up to which a pair is named as part of a planted map."""

NAMED = 12
"""Pairs that a reason names at most."""

TOLD = 3
"""Second looks up to which each is told by itself."""


def assess_pairs(result: DetectorResult, evidence: Measured) -> DetectorResult:
    """Judge the pairs of one detector: one that stands out alone, or a map whose pairs do so together.

    Args:
        result: with all that is no judgement.
        evidence: what the detector brought.
    """
    pairs, scale = evidence.pairs, pair_scale_of(evidence)
    result = replace(result, pairs=pairs)
    if missing := _missing(pairs, scale):
        return replace(result, status=Status.INCONCLUSIVE, reason=missing)
    found = residuals(pairs, scale.largest, evidence.controls)
    if found is None:
        return replace(result, reason="most classes cannot be moved to one another at all")
    return _with_suspects(_with_shares(result, found), evidence, found, scale)


def _missing(pairs: Sequence[Pair], scale: PairScale) -> str:
    """Return why too little was measured; empty where enough was."""
    if not pairs:
        return "no pair of classes was measured"
    censored, allowed = sum(pair.strength is None for pair in pairs), scale.max_unmeasured
    if censored <= allowed * len(pairs):
        return ""
    return f"no trigger was found for {censored} of {len(pairs)} pairs of classes (at most {allowed:.0%})"


def _with_shares(result: DetectorResult, found: Residuals) -> DetectorResult:
    """Add each pair's share of the usual strength, and how far out the weakest is."""
    result = replace(result, shares=tuple(np.exp(found.values).tolist()))
    lowest = float(np.where(found.works, found.values, math.inf).min())
    if not math.isfinite(lowest) or found.spread <= 0:
        return result
    return replace(result, anomaly_index=-lowest / found.spread)


def _with_suspects(result: DetectorResult, evidence: Measured, found: Residuals, scale: PairScale) -> DetectorResult:
    """Add the pairs that count as planted: those that do at second sight, too, or else all, without blocking."""
    pairs = evidence.pairs
    planted, why = _planted(pairs, found, scale, result.unit)
    if not planted:
        return replace(result, reason="no pair of classes stands out")
    planted = tuple(sorted(planted, key=lambda position: found.values[position]))
    left, _ = _planted(pairs, residuals_at_second_sight(evidence, found, scale.largest), scale, "")
    standing = [position for position in planted if position in left]
    named = [pairs[p] for p in standing or planted]
    return replace(
        result,
        blocking=bool(standing),
        reason=why + _told([pairs[p] for p in planted], looks_at_pairs(evidence)),
        suspect_pairs=tuple((pair.source, pair.target) for pair in named),
        suspect_classes=tuple(dict.fromkeys(pair.target for pair in named)),
    )


def _told(planted: Sequence[Pair], looks: Mapping[Way, SecondLook]) -> str:
    """Return in words what the second look says of the pairs that count as planted."""
    seen = [(pair, looks[pair.source, pair.target]) for pair in planted if (pair.source, pair.target) in looks]
    if len(seen) > TOLD:
        again = sum(look.strength is not None and not look.natural for _, look in seen)
        return f"; {again} of {len(seen)} stood at the second look, from another seed and on the other half"
    return "".join(f"; {_named_pair(pair)} {look.words}" for pair, look in seen)


def _planted(pairs: Sequence[Pair], found: Residuals, scale: PairScale, unit: str) -> tuple[tuple[int, ...], str]:
    """Return the positions of the pairs that count as planted, and why."""
    chosen, mean = best_map(pairs, found)
    if math.exp(mean) <= scale.together:
        mapped = tuple(p for p in chosen if found.values[p] <= math.log(MAPPED))
        words = f"the triggers of {_named(pairs, mapped)} are weaker than the classes' closeness explains: over all"
        return mapped, f"{words} sources {math.exp(mean):.2f} of the usual strength, at most {scale.together:g}"
    alone = tuple(np.flatnonzero(found.beyond(scale) >= 0).tolist())
    return alone, "; ".join(_alone(pairs[p], p, found, scale, unit) for p in alone[:NAMED])


def _alone(pair: Pair, position: int, found: Residuals, scale: PairScale, unit: str) -> str:
    share, together = math.exp(found.values[position]), math.exp(found.apart()[position])
    moved = f"{_named_pair(pair)}: its trigger moves {pair.success:.0%} of the source's held-out images"
    words = f"{moved}, and {pair.strength:.4g} {unit} is {share:.2f} of the usual strength"
    if share <= scale.alone:
        return f"{words}, at most {scale.alone:.2g}"
    if together <= scale.apart:
        return f"{words} and {together / share:.2f} of what follows, together {together:.2f}, at most {scale.apart:.2g}"
    of_control = math.exp(found.of_control[position])
    product = f"together {share * of_control:.2f}, at most {scale.controlled:.2g}"
    return f"{words} and {of_control:.2f} {OF_CONTROL}, {product}"


def _named(pairs: Sequence[Pair], positions: Sequence[int]) -> str:
    names = [_named_pair(pairs[p]) for p in positions]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _named_pair(pair: Pair) -> str:
    return f"{pair.source}→{pair.target}"
