"""What the long fuzzing run starts from: inputs that the parsers take as they are, or it would try only refusals."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_targets import ALL, Target


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_every_target_starts_from_sound_inputs(target: Target) -> None:
    for seed in target.seeds():
        target.accept(seed)
