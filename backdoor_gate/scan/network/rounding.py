"""Whether rounding, or the other images of a batch, decide what a network computes: then it is not the one deployed.

A sum is rounded in another order for one image than for a batch, on another processor, with other threads. Where large
numbers cancel, such rounding is all that is left: a dense layer that sums 2³⁰, 1, 1 and -2³⁰ tells how many images it
was asked for, and can be a switch. So all numbers on the way are moved by a few times what float32 rounds by, and no
sum may change by a good part of its channel's size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.network.watching import Watch, tensors_in, without_shortcuts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backdoor_gate.scan.network.subject import Subject

STEP = 2.0**-22
"""Share of a number by which each is moved: four times what float32 rounds by."""

MOST = 0.01
"""Largest change of a sum, as a share of the largest in its channel: of 11 trained networks at most 0.000014, and 1
where large numbers cancel."""

SEEDS = 2, 3
"""Of the moves that are tried: each number up or down, as it is drawn."""

IMAGES = 32
"""Images on which that is tried, of up to 32×32 pixels; of larger ones as few as make so many pixels, and ALONE at
least: all sums are kept meanwhile."""

ALONE = 4
"""Images that are asked about one by one."""

AGREEMENT = 1e-3
"""Largest difference between an image's logits alone and in a batch, as a share of the largest logit: up to 1.2e-6."""

NOTHING = 2.0**-12
"""Share of the usual channel's largest number below which a change is nothing, as a colour is in a grey image."""

USUAL = 0.75
"""Quantile of the channels' largest numbers."""

_OTHERS = math.inf, "which operators run"

_SUMS = ("conv", "mm", "mv", "dot", "add", "sub", "mean", "sum", "avg_pool", "norm", "attention")
"""In the names of operators that add numbers up, where they may cancel."""


class Rounding(Watch):
    """Moves what operators result in by a step: each channel of each image up or down.

    Args:
        seed: 0 moves all up, 1 all down, any other each as it is drawn.
        step: the share of a number.
        operators: parts of the names of those whose results are moved; left out, all of them.
    """

    def __init__(self, seed: int, step: float, operators: tuple[str, ...] = ("",)) -> None:
        super().__init__()
        self._step, self._operators = step, operators
        self._up = {0: 1.0, 1: 0.0}.get(seed, 0.5)
        self._generator = torch.Generator().manual_seed(seed)

    def made(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Move one result, unless it is a view: a network's weights stay what they are."""
        if not any(part in str(operator) for part in self._operators):
            return
        in_place = operator._schema.is_mutable
        given = set() if in_place else {_memory(tensor) for tensor in tensors_in([*args, *kwargs.values()])}
        for tensor in _results(result):
            if _memory(tensor) not in given:
                self._move(tensor)

    def _move(self, tensor: Tensor) -> None:
        of_channel = (*tensor.shape[:2], *(1 for _ in tensor.shape[2:]))
        up = torch.rand(of_channel, generator=self._generator) < self._up
        tensor.mul_(torch.where(up, 1 + self._step, 1 - self._step).to(tensor.device))


class _Sums(Watch):
    """Tells every sum of a pass, as it is made."""

    def __init__(self, tell: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self._tell = tell

    def made(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Tell one; beside what they normalise, normalisations return the statistics, which are of no other size."""
        if any(part in str(operator) for part in _SUMS):
            sums = _results(result)
            for tensor in sums[:1] if "norm" in str(operator) else sums:
                self._tell(str(operator), tensor)


@torch.no_grad()
def check_rounding(subject: Subject, images: Tensor) -> None:
    """Accept a network whose sums rounding does not decide, and that answers an image alone as among others.

    Args:
        subject: the network.
        images: (N, C, H, W), some dozens.

    Raises:
        UnmeasuredError: it does not.
    """
    pixels = images.shape[-1] * images.shape[-2]
    few = images[: max(ALONE, min(IMAGES, IMAGES * 32 * 32 // pixels))]
    change, operator = largest_change(lambda: subject.logits(few), [Rounding(seed, STEP) for seed in SEEDS])
    if change > MOST:
        raise UnmeasuredError(
            f"rounding decides what the network computes: {operator}",
            hint="large numbers cancel in a layer, or it chooses by comparing; train it again with ordinary weights",
        )
    together, alone = subject.logits(few), torch.cat([subject.logits(image[None]) for image in few[:ALONE]])
    if (alone - together[:ALONE]).abs().max() > AGREEMENT * together.abs().max():
        raise UnmeasuredError(
            "the answer for an image hangs on the others in its batch",
            hint="export the model in evaluation mode; it is measured in batches and asked for single images",
        )


def largest_change(run: Callable[[], Tensor], moves: Sequence[Rounding]) -> tuple[float, str]:
    """Return by how much a sum changes at most, as a share of the largest in its channel, and the operator's name.

    Args:
        run: puts images through the network, always the same.
        moves: each is in force for one run. Where other operators run within, a sum changes without limit.
    """
    plain: list[Tensor] = []
    with without_shortcuts(), _Sums(lambda _, tensor: plain.append(tensor.clone())):
        run()
    found = [(0.0, "no operator")]
    for move in moves:
        changes = _Changes(plain)
        with without_shortcuts(), move, _Sums(changes.see):
            run()
        found.append(changes.largest())
    return max(found)


class _Changes:
    """Compares the sums of a pass with those of another, one by one, as they are made."""

    def __init__(self, plain: list[Tensor]) -> None:
        self._left = iter(plain)
        self._largest = 0.0, "no operator"

    def see(self, name: str, moved: Tensor) -> None:
        tensor = next(self._left, None)
        if tensor is None or tensor.shape != moved.shape:
            self._largest = _OTHERS
        else:
            self._largest = max(self._largest, (_changed(tensor, moved), name))

    def largest(self) -> tuple[float, str]:
        """Return the largest, once the pass is over."""
        return self._largest if next(self._left, None) is None else _OTHERS


def _changed(before: Tensor, after: Tensor) -> float:
    """Return by how much of its channel's largest number a number has changed, at most.

    What is nothing beside other channels is rounding alone, as in a channel that a normalisation finds to be constant,
    and says nothing by itself: who makes something of it does so in a later sum.
    """
    axis = 1 if before.dim() in {2, 4} else before.dim() - 1
    others = [other for other in range(before.dim()) if other != axis]
    finite = before.isfinite() & after.isfinite()
    before, after = before.where(finite, 0), after.where(finite, 0)
    largest = torch.maximum(before.abs(), after.abs()).amax(others)
    if not largest.numel():
        return 0.0
    floor = NOTHING * float(largest.float().quantile(USUAL))
    changes = (after - before).abs().amax(others)
    return float((changes / largest).where(changes > floor, 0).max())


def _results(result: Any) -> list[Tensor]:
    """Return the floating results of an operator that have channels."""
    found = tensors_in(result if isinstance(result, tuple | list) else [result])
    return [tensor for tensor in found if tensor.is_floating_point() and tensor.dim() >= 2]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
