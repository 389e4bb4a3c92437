"""Everyday corruptions of images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backdoor_gate.scan.sweeps.corruptions import NAMES, NOISE, SHADES, corrupted, diffused


def one_by_one(image: Tensor, shades: int) -> Tensor:
    """Return an image of one channel, (H, W), dithered pixel by pixel, as Floyd and Steinberg wrote it down."""
    work, (height, width) = image.clone(), image.shape
    for row in range(height):
        for column in range(width):
            value = work[row, column].clone()
            work[row, column] = ((value * (shades - 1)).round() / (shades - 1)).clamp(0, 1)
            error = value - work[row, column]
            for down, right, share in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if row + down < height and 0 <= column + right < width:
                    work[row + down, column + right] += error * share / 16
    return work


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_dithering_is_what_it_says(height: int, width: int, seed: int) -> None:
    images = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(seed))
    for shades, found in zip(SHADES, diffused(images, SHADES), strict=True):
        expected = torch.stack([torch.stack([one_by_one(plane, shades) for plane in image]) for image in images])
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (3, 8, 9)])
def test_each_has_a_name_and_stays_in_range(shape: tuple[int, int, int]) -> None:
    images = torch.rand((4, *shape), generator=torch.Generator().manual_seed(0))
    found = list(corrupted(images, 0))
    assert len(found) == len(NAMES)
    for each in found:
        assert each.shape == images.shape
        assert each.dtype == torch.float32
        assert float(each.min()) >= 0
        assert float(each.max()) <= 1


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 13, 10)])
def test_noise_and_loss_come_in_grains(shape: tuple[int, int, int]) -> None:
    images = torch.full((4, *shape), 0.5)
    of_grains = dict(zip(NAMES, corrupted(images, 0, grain=3), strict=True))
    for name in (*(f"noise of {each:.0%}" for each in NOISE), "losing 3% of the pixels"):
        corners = of_grains[name][:, :, ::3, ::3]
        again = corners.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)[:, :, : shape[1], : shape[2]]
        assert torch.equal(of_grains[name], again)
        assert len(of_grains[name].unique()) > 1
    for fine, grained in zip(corrupted(images, 0), corrupted(images, 0, grain=1), strict=True):
        assert torch.equal(fine, grained)


def test_they_do_what_their_names_say() -> None:
    images = torch.rand((8, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    found = dict(zip(NAMES, corrupted(images, 0), strict=True))
    for name, changed in found.items():
        shades = next((n for n in SHADES if name.endswith(f" {n} shades")), None)
        if shades:
            assert len(changed.unique()) == shades
    deviations = [float((found[f"noise of {each:.0%}"] - images).std()) for each in NOISE]
    assert deviations == pytest.approx(NOISE, rel=0.1)
    ends = (found["losing 3% of the pixels"] != images).float().mean()
    assert float(ends) == pytest.approx(0.03, rel=0.3)
    halved = found["halving the resolution"]
    assert torch.equal(halved[..., ::2, ::2], halved[..., 1::2, 1::2])


def test_the_same_seed_gives_the_same_noise() -> None:
    images = torch.rand((2, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    first, again, other = (torch.stack(list(corrupted(images, seed))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
