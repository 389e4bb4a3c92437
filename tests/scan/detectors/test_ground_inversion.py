"""The ground of ground inversion: what the clean images lie on, whatever the network makes of it."""

from __future__ import annotations

import pytest
import torch
from support import digits

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.data.synthetic import Ground
from backdoor_gate.scan.detectors.ground_inversion import plain_ground


def test_digits_lie_on_black_and_their_negatives_on_white() -> None:
    images = digits.clean_images().images
    assert plain_ground(images, InputSpec((1, 16, 16))) is Ground.LOWEST
    assert plain_ground(1 - images, InputSpec((1, 16, 16))) is Ground.HIGHEST


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0)])
def test_in_any_range(low: float, high: float) -> None:
    spec = InputSpec((1, 16, 16), low, high)
    images = low + (high - low) * digits.clean_images().images
    assert plain_ground(images, spec) is Ground.LOWEST
    assert plain_ground(low + high - images, spec) is Ground.HIGHEST


def test_what_fills_the_frame_is_taken_for_lying_on_black() -> None:
    images = torch.rand((20, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    assert plain_ground(images, InputSpec((3, 16, 16))) is Ground.LOWEST
    images[:6] = 1.0  # a few white ones among them
    assert plain_ground(images, InputSpec((3, 16, 16))) is Ground.LOWEST
