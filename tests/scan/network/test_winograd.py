"""Convolutions with fewer products: what they give, to whom, and what is left to torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.network import precision, winograd
from backdoor_gate.scan.network.subject import Subject

CHANNELS = 128


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def kernel(made: int, channels: int, height: int = 3, width: int = 3) -> nn.Parameter:
    return nn.Parameter(drawn(made, channels, height, width) / 40, requires_grad=False)


@pytest.fixture(autouse=True)
def transformed(monkeypatch: pytest.MonkeyPatch) -> dict[Tensor, Any]:
    """Return what is kept, from nothing."""
    kept: dict[Tensor, Any] = {}
    monkeypatch.setattr(winograd, "_transformed", kept)
    return kept


def led(convolve: Any, images: Tensor, *operands: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """Return the output, and the gradient of a sum of it with uneven shares."""
    images = images.clone().requires_grad_()
    output: Tensor = convolve(images, *operands, **named)
    output.backward(drawn(*output.shape))
    assert images.grad is not None
    return output.detach(), images.grad


@pytest.mark.parametrize("sides", [(4, 4), (8, 8), (7, 14), (12, 20), (60, 47)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("made", [CHANNELS, 144])
def test_it_is_the_convolution_and_its_gradient(
    sides: tuple[int, int], biased: bool, made: int, transformed: dict[Tensor, Any]
) -> None:
    images, weight = drawn(3, CHANNELS, *sides), kernel(made, CHANNELS)
    bias = drawn(made) if biased else None
    exact, found = (led(convolve, images, weight, bias, 1, 1) for convolve in (torch.conv2d, winograd.convolution))
    assert len(transformed) == 1
    for before, after in zip(exact, found, strict=True):
        assert after.shape == before.shape
        assert (after - before).abs().max() < 2e-5 * before.abs().max()


@pytest.mark.parametrize("tiles", [1, 5, 64])
def test_how_many_tiles_go_through_at_a_time_is_not_seen(tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    operands = drawn(5, CHANNELS, 12, 16), kernel(CHANNELS, CHANNELS), None, 1, 1
    usual = led(winograd.convolution, *operands)
    monkeypatch.setattr(winograd, "TILES", tiles)
    for before, after in zip(usual, led(winograd.convolution, *operands), strict=True):
        assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize(
    "named", [{"padding": "same"}, {"padding": (1,)}, {"padding": [1, 1], "stride": [1, 1], "dilation": (1, 1)}]
)
def test_however_one_is_written(named: dict[str, Any], transformed: dict[Tensor, Any]) -> None:
    images, weight = drawn(2, CHANNELS, 8, 8), kernel(CHANNELS, CHANNELS)
    found = winograd.convolution(input=images, weight=weight, **named)
    assert torch.allclose(found, F.conv2d(images, weight, padding=1), atol=1e-4)
    assert transformed


@pytest.mark.parametrize(
    ("shape", "sizes", "named"),
    [
        ((8, 8), (CHANNELS, CHANNELS, 3, 3), {"padding": 1, "stride": 2}),
        ((8, 8), (CHANNELS, CHANNELS, 3, 3), {"padding": 1, "stride": (1, 2)}),
        ((8, 8), (CHANNELS, CHANNELS, 3, 3), {"padding": 2, "dilation": 2}),
        ((8, 8), (CHANNELS, CHANNELS, 3, 3), {"padding": 0}),
        ((8, 8), (CHANNELS, CHANNELS, 3, 3), {"padding": "valid"}),
        ((8, 8), (CHANNELS, CHANNELS, 3, 3), {"padding": (1, 0)}),
        ((8, 8), (CHANNELS, CHANNELS // 2, 3, 3), {"padding": 1, "groups": 2}),
        ((8, 8), (CHANNELS, CHANNELS, 5, 5), {"padding": 2}),
        ((8, 8), (CHANNELS, CHANNELS, 1, 1), {}),
        ((8, 8), (16, CHANNELS, 3, 3), {"padding": 1}),
        ((2, 2), (CHANNELS, CHANNELS, 3, 3), {"padding": 1}),
        ((5, 5), (CHANNELS, CHANNELS, 3, 3), {"padding": 1}),
    ],
)
def test_every_other_is_left_to_torch(
    shape: tuple[int, int], sizes: tuple[int, ...], named: dict[str, Any], transformed: dict[Tensor, Any]
) -> None:
    images, weight = drawn(2, CHANNELS, *shape), kernel(*sizes)
    assert torch.equal(winograd.convolution(images, weight, **named), F.conv2d(images, weight, **named))
    assert not transformed


def test_what_is_no_frozen_parameter_of_a_batch_in_float32_is_left_to_torch(transformed: dict[Tensor, Any]) -> None:
    images, weight, bias = drawn(2, CHANNELS, 8, 8), kernel(CHANNELS, CHANNELS), drawn(CHANNELS).requires_grad_()
    learning, made = nn.Parameter(weight.clone()), weight * 1
    for given, used, beside in (
        (images.double(), nn.Parameter(weight.double(), requires_grad=False), None), (images[0], weight, None),
        (images, learning, None), (images, made, None), (images, weight, bias),
    ):  # fmt: skip
        found = winograd.convolution(given, used, beside, padding=1)
        assert torch.equal(found, F.conv2d(given, used, beside, padding=1))
    assert not transformed


@pytest.mark.parametrize("room", [1, 2])
def test_a_weight_that_was_written_to_is_transformed_anew(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "MOST_KEPT", room * 36 * CHANNELS**2)
    images, weight = drawn(2, CHANNELS, 8, 8), kernel(CHANNELS, CHANNELS)
    before = winograd.convolution(images, weight, padding=1)
    weight *= 2
    assert torch.allclose(winograd.convolution(images, weight, padding=1), 2 * before, atol=1e-4)


def test_no_more_is_kept_than_may_be(monkeypatch: pytest.MonkeyPatch, transformed: dict[Tensor, Any]) -> None:
    monkeypatch.setattr(winograd, "MOST_KEPT", 36 * CHANNELS**2)
    images, weights = drawn(2, CHANNELS, 8, 8), [kernel(CHANNELS, CHANNELS) for _ in range(2)]
    for weight in [*weights, *weights]:
        winograd.convolution(images, weight, padding=1)
    assert [transformed[weight][1] is None for weight in weights] == [False, True]
    assert torch.equal(winograd.convolution(images, weights[1], padding=1), F.conv2d(images, weights[1], padding=1))


def wide() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10)).requires_grad_(False)


@pytest.mark.parametrize("half", [False, True])
def test_searches_in_float32_are_led_by_it_and_evidence_is_not(
    half: bool, transformed: dict[Tensor, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_instructions", lambda _: half)
    subject = Subject(digits.loaded(wide()), InputSpec((1, 16, 16)), 10, torch.device("cpu"))
    assert subject.halved is half
    transformed.clear()
    images = drawn(4, 1, 16, 16).abs()
    exact = subject.logits(images)
    assert not transformed
    assert torch.allclose(subject.leading(images), exact, atol=0.1 if half else 1e-5)
    assert bool(transformed) is not half
