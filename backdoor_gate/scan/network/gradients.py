"""Shorter backward passes of operators whose parameters are frozen: the gradient goes to the images alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)
from torch.nn.grad import conv2d_input

if TYPE_CHECKING:
    from collections.abc import Callable

Sizes = int | tuple[int, ...]

PARTS = 2
"""Size at most of the product that a convolution's gradient is summed from, relative to the convolution's output."""

MOST_POOLS = 64
"""Pools of an adaptive mean at most for which its gradient is a matrix product: the product grows with their number."""


def learns(*parameters: Tensor | None) -> bool:
    """Tell whether a gradient goes to one of an operator's parameters: it may be made from the images."""
    return any(parameter is not None and parameter.requires_grad for parameter in parameters)


def convolution(  # noqa: PLR0913, PLR0917 (the operator's own)
    input: Tensor,  # noqa: A002 (the operator's own name)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve as `torch.conv2d` does; the gradient to one channel is a product, and sums of its parts.

    A processor's convolutions take channels by the eight or more: the gradient to one costs what it costs to all.

    Args:
        input: (N, C, H, W) float32.
        weight: (O, C / groups, h, w) float32; what is not frozen goes the usual way.
        bias: (O,) float32 or None, likewise.
        stride: as of `torch.conv2d`, and so are the others.
        padding: the same.
        dilation: the same.
        groups: the same.

    Returns:
        (N, O, H', W') float32.
    """
    fits = weight[0].numel() <= PARTS * weight.shape[0]
    if learns(weight, bias) or isinstance(padding, str) or input.shape[-3] > 1 or not fits:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    convolved: Tensor = _OfOneChannel.apply(input, weight, bias, (stride, padding, dilation))  # type: ignore[no-untyped-call]
    return convolved


def rounded_convolution(  # noqa: PLR0913, PLR0917 (the operator's own)
    input: Tensor,  # noqa: A002 (the operator's own name)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve in float32, round the output to bfloat16, and take the gradient in bfloat16.

    A convolution's gradient to few channels is several times dearer than the convolution itself, in float32.

    Args:
        input: (N, C, H, W) float32.
        weight: (O, C / groups, h, w) float32; what is not frozen goes the usual way.
        bias: (O,) float32 or None, likewise.
        stride: as of `torch.conv2d`, and so are the others.
        padding: the same.
        dilation: the same.
        groups: the same.

    Returns:
        (N, O, H', W') bfloat16.
    """
    if learns(weight, bias) or isinstance(padding, str):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups).bfloat16()
    rounded: Tensor = _Convolution.apply(input, weight, bias, (stride, padding, dilation, groups))  # type: ignore[no-untyped-call]
    return rounded


def normalisation(  # noqa: PLR0913, PLR0917 (the operator's own)
    input: Tensor,  # noqa: A002 (the operator's own name)
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Normalise as `torch.batch_norm` does; with running statistics the gradient is one product."""

    def run(given: Tensor) -> Tensor:
        return torch.batch_norm(given, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)

    if training or running_var is None or learns(weight, bias, running_mean, running_var):
        return run(input)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    normalised: Tensor = _Normalisation.apply(input, scale, run)  # type: ignore[no-untyped-call]
    return normalised


def functional_normalisation(  # noqa: PLR0913, PLR0917 (the operator's own)
    input: Tensor,  # noqa: A002 (the operator's own name)
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise as `torch.nn.functional.batch_norm` does, see `normalisation`."""
    return normalisation(input, weight, bias, running_mean, running_var, training, momentum, eps)


def adaptive_mean(input: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:  # noqa: A002 (the operator's own)
    """Pool as `torch.nn.functional.adaptive_avg_pool2d` does; the gradient is one matrix product."""
    rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
    pools = rows or input.shape[-2], columns or input.shape[-1]
    if pools == input.shape[-2:]:
        return input
    if pools[0] * pools[1] > MOST_POOLS:
        return F.adaptive_avg_pool2d(input, output_size)
    pooled: Tensor = _AdaptiveMean.apply(input, output_size)  # type: ignore[no-untyped-call]
    return pooled


def rectified(input: Tensor) -> Tensor:  # noqa: A002 (the operator's own name)
    """Return max(x, 0) as `torch.relu` does; of bfloat16 at the speed of integers.

    Such a number is negative where its bits, read as an integer, are; so is a NaN with a sign, which becomes 0 here.
    """
    if input.dtype is not torch.bfloat16:
        return torch.relu(input)
    positive: Tensor = _Rectifier.apply(input)  # type: ignore[no-untyped-call]
    return positive


def rectified_maxima(  # noqa: PLR0913, PLR0917 (the operator's own)
    pool: Callable[..., Tensor],
    input: Tensor,  # noqa: A002 (the operator's own name)
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Pool by maxima as `torch.max_pool2d` does, and rectify; without a gradient, two by two, as integers.

    Of two bfloat16 numbers that are not both negative the larger one has the larger bits, read as an integer, and where
    all are negative the rectified maximum is 0 whichever is taken.

    Args:
        pool: the operator, in whatever form it was called.
        input: (N, C, H, W).
        kernel_size: as of `torch.max_pool2d`, and so are the others.
        stride: the same.
        padding: the same.
        dilation: the same.
        ceil_mode: the same.
        return_indices: never: a pooling that tells the places of its maxima is another operator.
    """
    stride = stride or kernel_size
    led = torch.is_grad_enabled() and input.requires_grad
    sizes = [_both(size) for size in (kernel_size, stride, padding, dilation)]
    even = not (input.shape[-1] % 2 or input.shape[-2] % 2)
    if led or input.dtype is not torch.bfloat16 or sizes != _TWO_BY_TWO or not even:
        return rectified(pool(input, kernel_size, stride, padding, dilation, ceil_mode))
    bits = input.view(torch.int16)
    rows = torch.maximum(bits[..., 0::2, :], bits[..., 1::2, :])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2]).clamp_min_(0).view(torch.bfloat16)


_TWO_BY_TWO = [(2, 2), (2, 2), (0, 0), (1, 1)]


def _both(size: Sizes) -> tuple[int, ...]:
    """Return an operator's size along both sides."""
    return (size, size) if isinstance(size, int) else tuple(size) * (2 // len(size))


@cache
def _shares(  # noqa: PLR0913, PLR0917 (two sizes, and where they are wanted)
    height: int, width: int, rows: int, columns: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return what each pixel gives to each pool, (rows·columns, height·width)."""
    along = (F.adaptive_avg_pool1d(torch.eye(size), pools).T for size, pools in ((height, rows), (width, columns)))
    return torch.kron(*along).to(device, dtype)


def _in_parts(images: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """Convolve in float32 and round; one channel in bfloat16, as what it rounds to and what is left of it.

    The matrix units take 32 channels at a time: of one channel three products cost less than one in float32, and leave
    out a 2⁻¹⁶ of it.
    """
    if images.shape[1] > 1 or not images.is_cpu:
        return torch.conv2d(images, weight, bias, *options).bfloat16()
    (image, image_rest), (kernel, kernel_rest) = _halves(images), _halves(weight)
    parts = torch.cat([image, image_rest, image], 1).contiguous(memory_format=torch.channels_last)
    kernels = torch.cat([kernel, kernel, kernel_rest], 1)
    return torch.conv2d(parts, kernels, None if bias is None else bias.bfloat16(), *options)


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    rounded = values.bfloat16()
    return rounded, (values - rounded).bfloat16()


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.options = images.shape, options
        return _in_parts(images, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        gradient: Tensor = conv2d_input(ctx.shape, weight.bfloat16(), gradients[0], *ctx.options)  # type: ignore[no-untyped-call]
        return gradient.float(), None, None, None


class _OfOneChannel(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.options = images.shape[-2:], options
        return torch.conv2d(images, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        stride, padding, dilation = ctx.options
        parts = weight.flatten(1).mT @ gradients[0].flatten(-2)  # (N, h·w, H'·W')
        gradient = F.fold(parts, ctx.size, weight.shape[-2:], dilation, padding, stride)
        return gradient, None, None, None


class _Normalisation(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, scale: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(scale)
        return run(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        return gradients[0] * scale.to(gradients[0].dtype).view(-1, *[1] * (gradients[0].dim() - 2)), None, None


class _AdaptiveMean(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, output_size: Any) -> Tensor:
        pooled = F.adaptive_avg_pool2d(images, output_size)
        ctx.sizes = (*images.shape[-2:], *pooled.shape[-2:])
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        height, width, _, _ = ctx.sizes
        by_pool = gradients[0].flatten(-2).mT  # (N, rows·columns, C)
        by_pixel = _shares(*ctx.sizes, by_pool.device, by_pool.dtype).T @ by_pool
        return by_pixel.mT.view(*by_pixel.mT.shape[:-1], height, width), None


class _Rectifier(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        positive = values.view(torch.int16).clamp_min(0).view(torch.bfloat16)
        ctx.save_for_backward(positive)
        return positive

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient: Tensor = torch.ops.aten.threshold_backward(gradients[0], ctx.saved_tensors[0], 0)
        return gradient
