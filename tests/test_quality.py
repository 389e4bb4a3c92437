"""The quality benchmark judges as the gate does, and counts right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.records import Measured, Verdict
from benchmarks import stability
from benchmarks.quality.curves import curves
from benchmarks.quality.document import markdown
from benchmarks.quality.figures import by_role, interval, summary
from benchmarks.quality.holdouts import holdouts
from benchmarks.quality.judging import Judged, judged
from benchmarks.quality.picture import draw_roc

if TYPE_CHECKING:
    from pathlib import Path

ABOUT: dict[str, Any] = {
    "command": "x", "commit": "0", "date": "2026-01-01", "machine": "m", "load_average": 0.0, "seed": 0, "versions": {},
}  # fmt: skip
PATCHES = [0.11, 0.1, 0.12, 0.09, 0.13, 0.105, 0.095, 0.115, 0.125, 0.108]


def line(role: str, *, patch: float | None = None, family: str = "badnets", dataset: str = "digits") -> dict[str, Any]:
    """Return a measured network; with `patch` class 3 has a trigger of that strength."""
    rows = {spec.name: {"missing": "not run"} for spec in DETECTORS}
    values = [patch if patch and k == 3 else value for k, value in enumerate(PATCHES)]
    rows["neural_cleanse"] = {
        "values": values, "success": [1.0] * 10, "verified": True, "seconds": 1.0, "model_passes": 5,
    }  # fmt: skip
    targets = [3] if role == "backdoored" else []
    kept = {"name": role, "role": role, "family": family, "targets": targets, "num_classes": 10}
    kept |= {"dataset": dataset, "input_shape": [1, 8, 8]}
    return kept | {"accuracy": 0.9, "seconds": 2.0, "detectors": rows}


def whole(networks: list[Judged]) -> dict[str, Any]:
    """Return all figures, as the command gathers them."""
    clean, planted = by_role(networks)
    return summary(networks) | {"curves": curves(clean, planted), "holdouts": holdouts(clean, planted)}


@pytest.mark.parametrize(
    ("hits", "count", "expected"), [(0, 300, (0.0, 0.012)), (10, 10, (0.692, 1.0)), (5, 10, (0.187, 0.813))]
)
def test_intervals_are_those_of_the_tables(hits: int, count: int, expected: tuple[float, float]) -> None:
    assert interval(hits, count) == expected


def test_a_planted_patch_is_counted_for_its_family_and_its_detector() -> None:
    networks = [judged(line("clean")), judged(line("backdoored", patch=0.004)), judged(line("backdoored"))]
    assert [network.decision.verdict for network in networks] == [
        Verdict.INCONCLUSIVE, Verdict.BLOCK, Verdict.INCONCLUSIVE,
    ]  # fmt: skip
    figures = whole(networks)
    assert (figures["clean"]["hits"], figures["clean"]["of"]) == (0, 1)
    assert (figures["named"]["hits"], figures["named"]["of"]) == (1, 2)
    assert figures["coverage"]["badnets"]["neural_cleanse"] == 1
    assert figures["coverage"]["badnets"]["pair_patch"] == 0
    assert figures["inconclusive"] == 2
    text = markdown("made-up", ABOUT, figures, networks)
    assert "| badnets | 1 of 2 (0.01-0.99) | 1 of 2 (0.01-0.99) |" in text
    assert "- backdoored: INCONCLUSIVE (planted: 3)" in text


@pytest.mark.parametrize(("weak", "asked"), [(0.004, True), (0.086, True), (0.1, False)])
def test_older_lines_are_judged_by_what_a_scan_asks_today(weak: float, asked: bool) -> None:
    """Of images of 8×8 a patch counts up to 0.07, and is looked at again up to 1.25 times that."""
    old = line("clean", patch=weak)
    old["detectors"]["neural_cleanse"] |= {
        "values": [weak if k == 3 else 0.2 for k in range(10)],
        "confirmations": [[None, 3, 0.1, 1.0, None], [None, 4, 0.1, 1.0, None]],
        "controls": [[None, k, 0.1] for k in range(10)],
    }
    pairs = [[s, t, weak if (s, t) == (0, 3) else 0.2, 1.0, 1.0] for s in range(3) for t in range(10) if s != t]
    old["detectors"]["pair_patch"] = old["detectors"]["neural_cleanse"] | {
        "pairs": pairs,
        "confirmations": [[0, 3, 0.1, 1.0, None], [1, 4, 0.1, 1.0, None]],
        "controls": [[0, 3, 0.1], [1, 4, 0.1]],
    }
    found = {each.detector: each for each in judged(old).evidence if isinstance(each, Measured)}
    assert [look.target for look in found["neural_cleanse"].confirmations] == [3] * asked
    assert len(found["neural_cleanse"].controls) == 10 * asked
    counts = weak <= 0.03
    assert [look.target for look in found["pair_patch"].confirmations] == [3] * counts
    assert len(found["pair_patch"].controls) == 2 * counts


def test_a_block_for_another_class_is_not_named() -> None:
    wrong = line("backdoored", patch=0.004) | {"targets": [5]}
    assert judged(wrong).blocked
    assert not judged(wrong).named


def population() -> list[Judged]:
    """Return thirty clean networks and ten backdoored ones of two datasets, one of which is hidden among the clean."""
    lines = [line("clean", patch=0.05 + at / 1000, dataset="digits" if at % 2 else "signs") for at in range(30)]
    strengths = [0.001 * (at + 1) for at in range(9)] + [0.09]
    lines += [
        line(
            "backdoored", patch=patch, family="badnets" if at % 2 else "wanet", dataset="digits" if at < 5 else "signs"
        )
        for at, patch in enumerate(strengths)
    ]
    return [judged(each) for each in lines]


def test_the_score_is_above_zero_where_the_gate_blocks() -> None:
    networks = population()
    assert all((network.score > 0) == network.blocked for network in networks)
    assert sum(network.blocked for network in networks) == 9


def test_curves_count_what_is_beyond_the_clean() -> None:
    found = curves(*by_role(population()))
    assert found is not None
    hidden = 0.09
    below = sum(0.05 + at / 1000 > hidden for at in range(30))
    assert found["auroc"] == pytest.approx((9 * 30 + below) / 300, abs=0.02)
    assert found["at_rate"][0.01]["false"]["hits"] == 0
    assert (found["at_rate"][0.01]["found"]["hits"], found["at_rate"][0.01]["found"]["of"]) == (9, 10)
    assert found["rank"][0.05]["found"]["hits"] == 9
    assert found["rank"][0.05]["false"]["hits"] <= 3
    assert found["rank"][0.01]["found"]["hits"] == 0, "thirty references do not support 1 %"
    assert found["cross_entropy"]["score"] < found["cross_entropy"]["prior"]
    assert found["roc"][0][:2] == [0.0, 0.0]
    assert found["roc"][-1][:2] == [1.0, 1.0]


def test_what_is_left_out_is_not_fitted_on() -> None:
    clean, planted = by_role(population())
    found = holdouts(clean, planted)
    assert found["families"]["badnets"]["of"] == 5
    assert found["datasets"]["signs"]["references"] == 15
    kept = holdouts(clean, [network for network in planted if network.line["family"] != "wanet"])
    assert found["families"]["wanet"]["cross_entropy"] == pytest.approx(
        holdouts(clean, planted)["families"]["wanet"]["cross_entropy"]
    )
    assert kept["families"]["badnets"]["cross_entropy"] is None, "there is no other family to fit on"


def test_without_both_kinds_there_is_no_curve() -> None:
    assert curves(*by_role([judged(line("clean", patch=0.1))] * 5)) is None


def test_the_document_and_the_figure_are_written(tmp_path: Path) -> None:
    networks = population()
    figures = whole(networks)
    text = markdown("made-up", ABOUT, figures, networks)
    assert "- AUROC 0." in text
    assert "| digits | 0.01 | " in text
    draw_roc(figures["curves"], "made-up networks", tmp_path / "a.svg")
    draw_roc(figures["curves"], "made-up networks", tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_verdict_that_hangs_on_the_seed_is_told() -> None:
    planted, weak = line("backdoored", patch=0.004), line("backdoored")
    seeds = [planted | {"seed": 0}, planted | {"seed": 1}, weak | {"seed": 2}]
    steady = [line("clean") | {"name": "steady", "seed": seed} for seed in range(3)]
    alone = line("clean") | {"name": "alone", "seed": 0}
    networks = stability.by_network([*seeds, *steady, alone])
    assert sorted(networks) == ["backdoored", "steady"]
    assert stability.verdicts(networks["backdoored"]) == {"BLOCK": 2, "INCONCLUSIVE": 1}
    text = stability.markdown(ABOUT, networks)
    assert "one verdict for all their seeds: 1 of 2" in text
    assert "planted target first: 2 of 2" in text
