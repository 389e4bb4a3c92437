"""What the long fuzzing run starts from: inputs that the parsers take as they are, or it would try only refusals."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from backdoor_gate.errors import GateError
from backdoor_gate.scan import loading
from benchmarks import fuzz_graphs
from benchmarks.fuzz_targets import ALL, Target, change_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_every_target_starts_from_sound_inputs(target: Target) -> None:
    for seed in target.seeds():
        target.accept(seed)


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_a_changed_input_is_another_one_and_any_can_be_changed(target: Target) -> None:
    rng, seed = random.Random(0), target.seeds()[0]
    assert len({target.change(seed, rng) for _ in range(20)}) > 10
    for odd in (b"", b"\n", b"[]", b'{"members": {}}', b"\xff"):
        assert isinstance(target.change(odd, rng), bytes)


def test_of_changed_graphs_some_are_taken_and_none_is_another_network() -> None:
    rng, ended = random.Random(0), Counter[str]()
    for _ in range(60):
        try:
            fuzz_graphs.feed(fuzz_graphs.change(rng.choice(fuzz_graphs.graphs()), rng))
            ended["taken"] += 1
        except GateError:
            ended["refused"] += 1
    assert min(ended["taken"], ended["refused"]) > 5


def test_a_changed_byte_of_a_graph_hardly_ever_leaves_one() -> None:
    """Why fields are changed, not bytes."""
    rng, graph, ended = random.Random(0), fuzz_graphs.graphs()[0], Counter[str]()
    for _ in range(40):
        try:
            fuzz_graphs.feed(change_bytes(graph, rng))
            ended["taken"] += 1
        except GateError:
            ended["refused"] += 1
    assert ended["taken"] < 8


def test_a_network_that_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = loading.load

    def negated(root: Path, *options: Any) -> Any:
        model = real(root, *options)
        for parameter in model.network.state_dict().values():
            parameter.neg_()
        return model

    monkeypatch.setattr(loading, "load", negated)
    with pytest.raises(fuzz_graphs.TwinsDifferError, match="another output than PyTorch's"):
        fuzz_graphs.feed(fuzz_graphs.graphs()[1])
