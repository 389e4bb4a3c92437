"""What patches do is told as the mean over each source's images."""

from __future__ import annotations

import torch

from backdoor_gate.scan.detectors.patch_sweep import _shares


def test_the_images_of_a_source_count_alike_however_many_it_has() -> None:
    values = torch.tensor([[1.0], [3.0], [7.0], [1.0], [2.0], [3.0]])
    assert torch.allclose(_shares([2, 1, 3]) @ values, torch.tensor([[2.0], [7.0], [2.0]]))
