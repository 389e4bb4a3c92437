"""Other tones and poses of the same images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backdoor_gate.scan.sweeps.tones import names, toned


def by_name(images: Tensor) -> dict[str, Tensor]:
    return dict(zip(names(images.shape[1]), toned(images), strict=True))


def images_of(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (3, 8, 9), (4, 6, 6)])
def test_each_has_a_name_and_stays_in_range(shape: tuple[int, int, int]) -> None:
    images = images_of(4, *shape)
    before = images.clone()
    for each in by_name(images).values():
        assert each.shape == images.shape
        assert each.dtype == torch.float32
        assert float(each.min()) >= 0
        assert float(each.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_black_stays_black(channels: int) -> None:
    assert all(float(each.max()) == 0 for each in toned(torch.zeros(2, channels, 8, 8)))


def test_colours_are_of_images_in_colour() -> None:
    assert len(names(3)) > len(names(1)) == len(names(4))
    assert not any("grey" in name or "red" in name for name in names(1))


def test_they_do_what_their_names_say() -> None:
    images = images_of(2, 3, 9, 9)
    found = by_name(images)
    assert torch.equal(found["leaving 60% of blue"][:, :2], images[:, :2])
    torch.testing.assert_close(found["leaving 60% of blue"][:, 2], 0.6 * images[:, 2])
    torch.testing.assert_close(found["leaving 75% of red and green"][:, :2], 0.75 * images[:, :2])
    torch.testing.assert_close(found["leaving 65% of the brightness"], 0.65 * images)
    torch.testing.assert_close(found["a gamma of 2.5"], images**2.5)
    grey = found["turning the images grey"]
    assert torch.equal(grey[:, 0], grey[:, 2])
    red, _, blue = found["turning the images sepia"].mean((0, 2, 3))
    assert red > blue
    assert torch.equal(found["mirroring the images left to right"][..., 0], images[..., -1])
    assert torch.equal(found["mirroring the images top to bottom"][..., 0, :], images[..., -1, :])
    assert torch.equal(found["half a turn"], images.rot90(2, (-2, -1)))


def test_turns_are_about_the_centre_anticlockwise() -> None:
    images = torch.zeros(1, 1, 21, 21)
    images[..., 10, 10], images[..., 10, 18] = 1.0, 1.0
    turned = by_name(images)["a turn by 30 degrees"][0, 0]
    assert float(turned[10, 10]) == pytest.approx(1.0, abs=1e-4)
    row, column = divmod(int((turned * (torch.arange(21) > 13)).argmax()), 21)
    assert (row, column) == (6, 17)  # up from the right
