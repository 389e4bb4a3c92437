"""Convolutions of three by three with a quarter of the products, on processors.

A tile of six by six pixels, transformed, times the transformed kernel, number by number, and transformed back, is one
of four by four outputs: F(4×4, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016,
arXiv:1509.09308, section 4.3). Over all channels that is 36 matrix products, and the gradient to the images is the same
backwards.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)
from torch.utils.weak import WeakTensorKeyDictionary

from backdoor_gate.scan.network.gradients import learns

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

Sizes = int | tuple[int, ...]

STEP, TILE = 4, 6
"""Pixels along a side of a tile, of outputs and of what they are made from."""

LEAST_CHANNELS = 128
"""With fewer, the transforms cost what the products save."""

LARGEST_SHARE = 0.4
"""Of the products that are left at most: a quarter where the sides are fours, more where tiles reach beyond."""

MOST_KEPT = 2**26
"""Numbers in all transformed kernels together at most, 256 MiB: each has four times the numbers of the kernel."""

TILES = 128
"""Tiles at a time, of as many rows or images as have them: what is made of them stays near the processor."""

_IMAGE = torch.tensor([
    [4.0, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
])  # fmt: skip
_KERNEL = torch.tensor([
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
])  # fmt: skip
_OUTPUT = torch.tensor([
    [1.0, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
])  # fmt: skip
_INTO, _OUT_OF = torch.kron(_IMAGE, _IMAGE), torch.kron(_OUTPUT, _OUTPUT)
"""Of a whole tile at once, (36, 36) and (16, 36)."""

_transformed: MutableMapping[Tensor, tuple[int, Tensor | None]] = WeakTensorKeyDictionary()
"""Of each weight the version that it was looked at in, and the transformed kernel, or None where too much was kept."""

_one_at_a_time = Lock()


def convolution(  # noqa: PLR0913, PLR0917 (the operator's own)
    input: Tensor,  # noqa: A002 (the operator's own name)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve as `torch.conv2d` does, but for rounding: some 1e-5 of the largest output where this way is the shorter.

    Args:
        input: (N, C, H, W) float32.
        weight: (O, C / groups, h, w) float32; only a frozen parameter is worth it, others are made anew for each pass.
        bias: (O,) float32 or None.
        stride: as of `torch.conv2d`, and so are the others.
        padding: the same.
        dilation: the same.
        groups: the same.

    Returns:
        (N, O, H', W') float32.
    """
    plain = _is_plain(weight, stride, padding, dilation, groups) and not learns(weight, bias)
    kernel = _transform(weight) if plain and _pays(input, weight) else None
    if kernel is None:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    convolved: Tensor = _Winograd.apply(input, kernel, bias)  # type: ignore[no-untyped-call]
    return convolved


def _is_plain(weight: Tensor, stride: Sizes, padding: Sizes | str, dilation: Sizes, groups: int) -> bool:
    ones = all(size in {1, (1,), (1, 1)} for size in map(_hashable, (stride, dilation, groups)))
    return ones and weight.shape[2:] == (3, 3) and _hashable(padding) in {1, (1,), (1, 1), "same"}


def _hashable(size: Any) -> Any:
    return tuple(size) if isinstance(size, list) else size


def _pays(images: Tensor, weight: Tensor) -> bool:
    stays = isinstance(weight, nn.Parameter) and weight.dtype is images.dtype is torch.float32
    if not (stays and images.is_cpu and images.dim() == 4 and min(weight.shape[:2]) >= LEAST_CHANNELS):
        return False
    height, width = images.shape[2:]
    return TILE**2 * _tiles(height) * _tiles(width) <= LARGEST_SHARE * 9 * height * width


def _tiles(side: int) -> int:
    return -(-side // STEP)


def _transform(weight: Tensor) -> Tensor | None:
    """Return (36, C, O), or None where too much is kept already."""
    with _one_at_a_time:
        version, kernel = _transformed.get(weight, (-1, None))
        if version == weight._version:
            return kernel
        _transformed[weight] = weight._version, None  # what was made of another version is not kept
        kernel, kept = None, sum(each.numel() for _, each in _transformed.values() if each is not None)
        if kept + TILE**2 * weight.shape[:2].numel() <= MOST_KEPT:
            kernel = torch.einsum("ai,ocij,bj->abco", _KERNEL, weight, _KERNEL).flatten(0, 1).contiguous()
        _transformed[weight] = weight._version, kernel
        return kernel


def _parts(images: int, rows: int, columns: int) -> Iterator[tuple[slice, int, int]]:
    """Yield images, and the first and the last row of tiles, that go through at a time."""
    many = max(1, TILES // (rows * columns))
    step = rows if rows * columns <= TILES else max(1, TILES // columns)
    for first in range(0, images, many):
        for row in range(0, rows, step):
            yield slice(first, first + many), row, min(rows, row + step)


class _Winograd(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(kernel)
        (count, channels, height, width), made = images.shape, kernel.shape[2]
        rows, columns = _tiles(height), _tiles(width)
        edges = 0, 0, 1, STEP * columns - width + 1, 1, STEP * rows - height + 1
        pixels = F.pad(images.permute(0, 2, 3, 1), edges)
        output = images.new_empty(count, rows, STEP, columns, STEP, made)
        for few, first, last in _parts(count, rows, columns):
            tiles = pixels[few, STEP * first : STEP * last + TILE - STEP].unfold(1, TILE, STEP).unfold(2, TILE, STEP)
            tiles = tiles.permute(4, 5, 0, 1, 2, 3)
            products = (_INTO @ tiles.reshape(TILE**2, -1)).view(TILE**2, -1, channels) @ kernel
            found = (_OUT_OF @ products.flatten(1)).view(STEP, STEP, *tiles.shape[2:5], made).permute(2, 3, 0, 4, 1, 5)
            output[few, first:last] = found if bias is None else found + bias
        whole = output.view(count, STEP * rows, STEP * columns, made)
        return whole[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (kernel,) = ctx.saved_tensors
        (count, made, height, width), channels = gradients[0].shape, kernel.shape[1]
        rows, columns = _tiles(height), _tiles(width)
        whole = F.pad(gradients[0].permute(0, 2, 3, 1), (0, 0, 0, STEP * columns - width, 0, STEP * rows - height))
        outputs = whole.view(count, rows, STEP, columns, STEP, made)
        pixels = whole.new_zeros(count, rows + 1, STEP, columns + 1, STEP, channels)  # tiles overlap by two
        for few, first, last in _parts(count, rows, columns):
            tiles = outputs[few, first:last].permute(2, 4, 0, 1, 3, 5)
            products = (_OUT_OF.T @ tiles.reshape(STEP**2, -1)).view(TILE**2, -1, made) @ kernel.mT
            found = (_INTO.T @ products.flatten(1)).view(TILE, TILE, *tiles.shape[2:5], channels)
            _add_overlapping(pixels[few], first, last, found.permute(2, 3, 0, 4, 1, 5))
        given = pixels.view(count, STEP * (rows + 1), STEP * (columns + 1), channels)[:, 1 : height + 1, 1 : width + 1]
        return given.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last), None, None


def _add_overlapping(pixels: Tensor, first: int, last: int, tiles: Tensor) -> None:
    """Add tiles (n, rows, 6, columns, 6, C) to pixels (n, rows + 1, 4, columns + 1, 4, C) in place."""
    for down in (0, 1):
        for right in (0, 1):
            place = pixels[:, first + down : last + down, : (STEP, TILE - STEP)[down]]
            place = place[:, :, :, right : right + tiles.shape[3], : (STEP, TILE - STEP)[right]]
            place += tiles[:, :, (0, STEP)[down] : (STEP, TILE)[down], :, (0, STEP)[right] : (STEP, TILE)[right]]
