"""The images of a scan: halves that share nothing and mix the same classes, and images made where there are none."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.scan.data.probes import from_clean
from backdoor_gate.scan.triggers.images import Images


def numbered(labels: list[int]) -> Images:
    """Return images that carry their own number."""
    return Images(torch.arange(float(len(labels))).view(-1, 1, 1, 1), torch.tensor(labels, dtype=torch.int64))


def numbers(images: Images) -> list[int]:
    return images.images.flatten().int().tolist()


@given(labels=st.lists(st.integers(0, 12), min_size=2, max_size=120), seed=st.integers(0, 2**31))
def test_the_halves_are_disjoint_complete_and_balanced(labels: list[int], seed: int) -> None:
    split = from_clean(numbered(labels), seed)
    one, other = numbers(split.optimise), numbers(split.held_out)
    assert sorted(one + other) == list(range(len(labels)))
    assert len(split) == len(labels)
    assert split.clean
    for half in (split.optimise, split.held_out):
        assert half.labels.tolist() == [labels[number] for number in numbers(half)]
    counts = [Counter(half.labels.tolist()) for half in (split.optimise, split.held_out)]
    assert all(abs(counts[0][label] - counts[1][label]) <= 1 for label in set(labels))
    # Classes of odd size favour one half and the other in turn, unless the odd ones happen to alternate.
    assert abs(len(one) - len(other)) <= (len(set(labels)) + 1) // 2


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=50), seed=st.integers(0, 2**31))
def test_same_seed_same_split(labels: list[int], seed: int) -> None:
    one, other = (from_clean(numbered(labels), seed) for _ in range(2))
    assert numbers(one.optimise) == numbers(other.optimise)
    assert numbers(one.held_out) == numbers(other.held_out)


def test_another_seed_another_split() -> None:
    one, other = (set(numbers(from_clean(numbered([0] * 60), seed).optimise)) for seed in (0, 1))
    assert one != other


def test_the_halves_mix_their_classes() -> None:
    """The first images of a half stand for all of it: triggers are settled on these alone."""
    split = from_clean(numbered([k for k in range(4) for _ in range(100)]), 0)
    assert min(Counter(split.optimise.labels[:60].tolist()).values()) >= 5
