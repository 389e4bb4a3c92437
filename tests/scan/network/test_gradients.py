"""Shorter backward passes: the operators' own outputs, and their gradients to the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.network import precision
from backdoor_gate.scan.network.gradients import (
    adaptive_mean,
    convolution,
    functional_normalisation,
    normalisation,
    rectified,
    rectified_maxima,
    rounded_convolution,
)
from backdoor_gate.scan.network.leading import Leading

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDING = 2**-7
"""Relative, of a sum of products of bfloat16 numbers."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_gradient(run: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output, and the gradient to the images of a weighted sum of it."""
    given = images.clone().requires_grad_()
    output = run(given)
    (gradient,) = torch.autograd.grad((output.float() * random(*output.shape, seed=7)).sum(), given)
    return output.detach(), gradient


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
        {"groups": 2, "padding": (1, 1)},
        {"padding": "same"},
    ],
)
@pytest.mark.parametrize("biased", [False, True])
def test_a_rounded_convolution_is_exact_forwards_and_nearly_so_backwards(options: dict[str, Any], biased: bool) -> None:
    images = random(5, 4, 11, 9)
    weight = random(6, 4 // options.get("groups", 1), 3, 3, seed=1)
    bias = random(6, seed=2) if biased else None
    output, gradient = with_gradient(lambda given: rounded_convolution(given, weight, bias, **options), images)
    exact, exact_gradient = with_gradient(lambda given: torch.conv2d(given, weight, bias, **options), images)
    assert torch.equal(output, exact.bfloat16())
    assert gradient.dtype is torch.float32
    assert (gradient - exact_gradient).abs().max() <= ROUNDING * exact_gradient.abs().max()


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 6)])
def test_a_normalisation_is_the_same(affine: bool, shape: tuple[int, ...]) -> None:
    weight, bias = (random(6, seed=seed) if affine else None for seed in (1, 2))
    mean, variance = random(6, seed=3), random(6, seed=4).abs()
    images = random(*shape)
    exact, exact_gradient = with_gradient(lambda given: F.batch_norm(given, mean, variance, weight, bias), images)
    for run in (
        lambda given: functional_normalisation(given, mean, variance, weight, bias),
        lambda given: normalisation(given, weight, bias, mean, variance, False, 0.1, 1e-5),
    ):
        output, gradient = with_gradient(run, images)
        assert torch.equal(output, exact)
        assert torch.allclose(gradient, exact_gradient, rtol=1e-5, atol=1e-6)


def test_a_normalisation_by_the_batch_is_left_alone() -> None:
    images = random(4, 6, 5, 3)
    for layer in (nn.BatchNorm2d(6), nn.BatchNorm2d(6, track_running_stats=False).eval()):
        _, exact = with_gradient(layer, images)
        with precision.half(torch.device("cpu")):
            _, gradient = with_gradient(layer, images)
        assert torch.allclose(gradient, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, (2, 3), (None, 4), 7, (9, 8)])
@pytest.mark.parametrize("shape", [(3, 5, 7, 7), (5, 8, 4)])
def test_an_adaptive_mean_is_the_same(shape: tuple[int, ...], size: int | tuple[int | None, int | None]) -> None:
    output, gradient = with_gradient(lambda given: adaptive_mean(given, size), random(*shape))
    exact, exact_gradient = with_gradient(lambda given: F.adaptive_avg_pool2d(given, size), random(*shape))
    assert torch.equal(output, exact)
    assert torch.allclose(gradient, exact_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)}, {"padding": "same"}],
)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 6), (1, 2), (3, 6)])
def test_a_convolution_is_the_same(options: dict[str, Any], biased: bool, channels: int, outputs: int) -> None:
    weight, bias = random(outputs, channels, 3, 3, seed=1), random(outputs, seed=2) if biased else None
    for images in (random(5, channels, 11, 9), random(channels, 11, 9)):
        output, gradient = with_gradient(lambda given: convolution(given, weight, bias, **options), images)
        exact, exact_gradient = with_gradient(lambda given: torch.conv2d(given, weight, bias, **options), images)
        assert torch.equal(output, exact)
        assert torch.allclose(gradient, exact_gradient, rtol=1e-5, atol=1e-5)


def test_a_pass_in_float32_takes_them() -> None:
    normalise = nn.BatchNorm2d(6).eval().requires_grad_(False)
    with Leading():
        first = torch.conv2d(random(2, 1, 8, 8).requires_grad_(), random(6, 1, 3, 3))
        second = torch.conv2d(first, random(6, 6, 1, 1))
        made = first, second, normalise(second), nn.AdaptiveAvgPool2d(2)(second)
    assert [type(each.grad_fn).__name__ for each in made] == [
        "_OfOneChannelBackward",
        "ConvolutionBackward0",
        "_NormalisationBackward",
        "_AdaptiveMeanBackward",
    ]
    assert {each.dtype for each in made} == {torch.float32}


def test_a_pass_in_half_takes_them() -> None:
    normalise = nn.BatchNorm2d(6).eval().requires_grad_(False)
    weight, ops = random(6, 3, 3, 3), torch.ops.aten
    with precision.half(torch.device("cpu")):
        first = torch.conv2d(random(2, 3, 8, 8).requires_grad_(), weight)
        by_layer = normalise(first)
        statistics = (normalise.weight, normalise.bias, normalise.running_mean, normalise.running_var)
        pooled = nn.AdaptiveAvgPool2d(2)(by_layer)
        by_operator = ops.batch_norm.default(first, *statistics, False, 0.1, 1e-5, True)
    assert [type(each.grad_fn).__name__ for each in (first, by_layer, by_operator, pooled)] == [
        "_ConvolutionBackward",
        "_NormalisationBackward",
        "_NormalisationBackward",
        "_AdaptiveMeanBackward",
    ]
    assert torch.equal(by_layer, by_operator)


def test_one_channel_in_parts_is_as_good_as_exact() -> None:
    """What float32 tells apart within a step of bfloat16 is still told apart."""
    images = 0.5 + 1e-3 * random(8, 1, 12, 12)
    weight, bias = random(6, 1, 3, 3, seed=1), random(6, seed=2).bfloat16().float()
    output, gradient = with_gradient(lambda given: rounded_convolution(given, weight, bias, 1, 1), images)
    exact, exact_gradient = with_gradient(lambda given: torch.conv2d(given, weight, bias, 1, 1), images)
    coarse = torch.conv2d(images.bfloat16().float(), weight, bias, 1, 1)
    assert output.dtype is torch.bfloat16
    assert (output.float() - exact).abs().max() <= 2**-8 * exact.abs().max()
    assert (output.float() - exact).abs().mean() < (exact.bfloat16().float() - exact).abs().mean() * 1.05
    assert (output == exact.bfloat16()).float().mean() > 0.99 > (coarse.bfloat16() == exact.bfloat16()).float().mean()
    assert (gradient - exact_gradient).abs().max() <= ROUNDING * exact_gradient.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rectifier_is_the_same(dtype: torch.dtype) -> None:
    values = torch.cat([random(4, 3, 5, 7), torch.tensor([0.0, -0.0, 1e-40, -1e-40, torch.inf]).expand(4, 3, 5, 5)], 3)
    output, gradient = with_gradient(rectified, values.to(dtype))
    exact, exact_gradient = with_gradient(torch.relu, values.to(dtype))
    assert torch.equal(output, exact)
    assert torch.equal(gradient, exact_gradient)
    assert output.dtype is dtype


POOLINGS = [
    {"kernel_size": 2},
    {"kernel_size": (2, 2), "stride": [2]},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
]


@pytest.mark.parametrize("options", POOLINGS)
@pytest.mark.parametrize("size", [(8, 6), (7, 8), (8, 9)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rectified_maxima_are_those_of_torch(
    options: dict[str, Any], size: tuple[int, int], dtype: torch.dtype
) -> None:
    values = torch.randn((3, 5, *size), generator=torch.Generator().manual_seed(0)).mul(3).to(dtype)
    values[0, 0, 0, 0], values[0, 1, 1, 1] = torch.inf, torch.nan
    for layout in (torch.contiguous_format, torch.channels_last):
        given = values.contiguous(memory_format=layout)
        expected = torch.relu(F.max_pool2d(given, **options))
        found = rectified_maxima(F.max_pool2d, given, **options)
        assert torch.equal(found.nan_to_num(-1), expected.nan_to_num(-1))
        led = given.clone().requires_grad_()
        assert torch.equal(rectified_maxima(F.max_pool2d, led, **options).nan_to_num(-1), found.nan_to_num(-1))


def test_without_a_gradient_two_by_two_no_pooling_is_called() -> None:
    values = torch.randn(2, 3, 4, 4).bfloat16()
    calls: list[Tensor] = []

    def pool(given: Tensor, *options: Any) -> Tensor:
        calls.append(given)
        return torch.max_pool2d(given, *options)

    rectified_maxima(pool, values, 2)
    assert not calls
    rectified_maxima(pool, values.requires_grad_(), 2)
    assert len(calls) == 1


def constant_convolved(convolve: Callable[..., Tensor], images: Tensor) -> Tensor:
    weight, bias = images[:, :, :1, :1], images[:, 0, 1, 1]
    output: Tensor = convolve(torch.ones(1, 1, 3, 3), weight, bias)
    return output


@pytest.mark.parametrize("convolve", [convolution, rounded_convolution])
def test_the_gradient_goes_through_weights_that_are_made_from_the_images(convolve: Callable[..., Tensor]) -> None:
    """Else a graph could hide its trigger from whatever follows the gradient, by a constant that images convolve."""
    images = random(2, 1, 4, 4)
    found, exact = (
        with_gradient(lambda given, run=run: constant_convolved(run, given), images)[1]
        for run in (convolve, torch.conv2d)
    )
    assert exact[:, :, 0, 0].all()
    assert exact[:, :, 1, 1].all()
    assert torch.allclose(found, exact, rtol=ROUNDING)


def test_the_gradient_goes_through_statistics_that_are_made_from_the_images() -> None:
    constant, ones = random(2, 3, 4, 4), torch.ones(3)

    def normalised(run: Callable[..., Tensor], given: Tensor) -> Tensor:
        return run(constant, given[0, :, 0, 0], None, 0 * ones, ones, False, 0.1, 1e-5, False)

    images = random(2, 3, 4, 4, seed=1)
    found, exact = (
        with_gradient(lambda given, run=run: normalised(run, given), images)[1]
        for run in (normalisation, torch.batch_norm)
    )
    assert exact[0, :, 0, 0].all()
    assert torch.allclose(found, exact)
