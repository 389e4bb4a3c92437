"""Of large images the probe tries noise and loss as coarse as what the control sees."""

from __future__ import annotations

import pytest
import torch
from support import digits
from torch import Tensor, nn

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.detectors.corruption_probe import corruptions
from backdoor_gate.scan.detectors.probing import moved
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.sweeps.corruptions import LOST, NAMES
from backdoor_gate.scan.triggers import Images

LOSING = [NAMES.index(f"losing {share:.0%} of the pixels") for share in LOST]


class Specked(nn.Module):
    """Answers 1 where some pixel differs from the one to its right within the same square of two, else 0."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        rough = (images[..., ::2] - images[..., 1::2]).abs().flatten(1).amax(dim=1)
        return torch.stack([torch.zeros_like(rough), 10 * rough - 1], dim=1)


@pytest.mark.parametrize(("side", "share"), [(32, 1.0), (64, 0.0)])
def test_what_the_control_cannot_see_is_not_tried(side: int, share: float) -> None:
    subject = Subject(digits.loaded(Specked()), InputSpec((1, side, side)), 2, torch.device("cpu"))
    images = Images(torch.full((8, 1, side, side), 0.5), torch.zeros(8, dtype=torch.int64))
    assert moved(subject, images, corruptions(subject.spec), seed=0)[LOSING, 1].tolist() == [share] * len(LOSING)
