"""The batches of the optimisation, and the arms' weights."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.scan.triggers.arms import all_to_one
from backdoor_gate.scan.triggers.images import Images, batches


@given(count=st.integers(1, 60), size=st.integers(1, 80), steps=st.integers(1, 50), seed=st.integers(0, 2**40))
def test_batches(count: int, size: int, steps: int, seed: int) -> None:
    drawn = batches(count, size, steps, torch.Generator().manual_seed(seed))
    width = min(size, count)
    assert drawn.shape == (steps, width)
    assert drawn.dtype == torch.int64
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < count
    per_epoch = count // width
    for start in range(0, steps, per_epoch):
        epoch = drawn[start : start + per_epoch].flatten()
        assert len(epoch.unique()) == len(epoch)  # no image twice before all others had their turn
    assert torch.equal(drawn, batches(count, size, steps, torch.Generator().manual_seed(seed)))


def test_epochs_differ() -> None:
    drawn = batches(64, 64, 2, torch.Generator().manual_seed(0))
    assert not torch.equal(drawn[0], drawn[1])


@given(classes=st.integers(2, 12), labels=st.lists(st.integers(0, 1), min_size=1, max_size=9))
def test_an_arm_moves_all_classes_but_its_own(classes: int, labels: list[int]) -> None:
    arms = all_to_one(classes)
    weights = arms.weights(torch.tensor(labels))
    assert weights.shape == (classes, len(labels))
    for k in range(classes):
        assert weights[k].tolist() == [float(label != arms.target[k]) for label in labels]


def test_slices_keep_images_and_labels_together() -> None:
    images = Images(torch.arange(6.0).view(6, 1, 1, 1), torch.arange(6))
    for chosen in (images[2:4], images[torch.tensor([5, 0])]):
        assert torch.equal(chosen.images.flatten().long(), chosen.labels)
    assert len(images[1:]) == 5
    assert len(all_to_one(7)[2:5]) == 3
    assert all_to_one(7)[2:5].target.tolist() == [2, 3, 4]
