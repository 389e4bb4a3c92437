"""How the passes that lead a search run: the short way, and in bfloat16 where that pays.

How often what stands out works is measured in float32.

The matrix units of recent processors and GPUs take bfloat16 at twice the speed of float32 or more, where the work is
convolutions. What the search hangs on stays in float32: the trigger, its strength and the loss; the first convolution
forwards (of one channel to within 2⁻¹⁶), on whose input a faint trigger is smaller than bfloat16's step; the linear
layers, whose output is the logits.
Whether it is used follows from the machine's instructions and the network's operators, never from a timing: the same
machine and seed give the same evidence.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.network.folding import same_but_for_rounding
from backdoor_gate.scan.network.leading import Leading, LeadingInHalf
from backdoor_gate.scan.network.rounding import Rounding, largest_change
from backdoor_gate.scan.network.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGREEMENT = 0.2
"""Largest change of an output, as a share of the usual distance between outputs, at which the faster passes still lead
the search."""

USUAL = 0.75
"""Quantile of the distances to an image's median output: neither a constant in all outputs nor a class of huge ones,
which are the candidate's to choose, makes any change look small."""

STEP = 2.0**-9
"""Share of a number by which bfloat16 may move it: half the distance to the next number."""

BORNE = 0.5
"""Largest change of an output, as in `AGREEMENT`, where all numbers on the way are moved by that at once: of 128
networks at most 0.25, while what is as weak as rounding and moves an image to another class makes more than 1. And the
largest change of a sum then, as a share of the largest in its channel: where bfloat16 would lose one, no output need
show it, as what it switches can wait for a trigger."""

ROUNDINGS = 6
"""Passes on which that is tried: all numbers up, all down, and of each channel at random."""

_ENDS = RuntimeError, ValueError, TypeError, IndexError, UnmeasuredError
"""What a network ends with that does not bear another way."""

_ARITHMETIC = ("convolution", "add", "sub", "mul", "div", "batch_norm", "mean", "avg_pool")
"""In the names of operators that round."""

_ATTENTION = ("attention", "bmm", "layer_norm")
"""In the names of operators that bfloat16 slows down on a processor."""


def ask_for_instructions() -> None:
    """Let torch ask the kernel for the processor's matrix units, as it does at its first operator in bfloat16.

    A worker that has locked itself down may not ask any more, and would go without: 1.6 times the time, measured.
    """
    if has_instructions(torch.device("cpu")):
        images, kernels = torch.zeros(1, 16, 8, 8), torch.zeros(16, 16, 3, 3)
        torch.conv2d(images.bfloat16(), kernels.bfloat16())


def keep_float32() -> None:
    """Have float32 mean float32 on a GPU, too, and one way of convolving for the same shapes.

    There torch rounds what it convolves to ten bits (TF32) and chooses among algorithms freely: folding would change a
    network's output by more than float32 rounds, and the same seed would not give the same evidence. What may be
    coarser is in bfloat16 anyway.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def shortens(run: Callable[[], Tensor]) -> bool:
    """Tell whether the passes that lead a search may take the shorter ways of `Leading` in float32.

    Args:
        run: returns the network's logits (N, K), always for the same images.
    """
    exact = _of_convolutions(run)
    if exact is None:
        return False
    try:
        with torch.no_grad(), Leading():
            shorter = run()
    except _ENDS:
        return False
    return same_but_for_rounding(exact, shorter)


def pays(run: Callable[[], Tensor], device: torch.device) -> bool:
    """Tell whether the passes that lead a search are to be in bfloat16.

    Args:
        run: returns the network's logits (N, K), always for the same images.
        device: where it runs.
    """
    if not has_instructions(device):
        return False
    exact = _of_convolutions(run)
    if exact is None:
        return False
    try:
        with torch.no_grad(), half(device):
            faster = run().float()
    except _ENDS:  # a network that names its types may not bear another
        return False
    borne = all(_agree(_rounded(run, seed), exact, BORNE) for seed in range(ROUNDINGS))
    return _agree(faster, exact) and borne and _sums_borne(run)


def _of_convolutions(run: Callable[[], Tensor]) -> Tensor | None:
    """Return the logits of a network of convolutions without attention, and None of any other."""
    seen = _Operators()
    with torch.no_grad(), seen:
        exact = run()
    attends = any(part in name for name in seen.names for part in _ATTENTION)
    return exact if not attends and any("convolution" in name for name in seen.names) else None


def _agree(faster: Tensor, exact: Tensor, most: float = AGREEMENT) -> bool:
    faster, exact = (logits - logits.median(dim=1, keepdim=True).values for logits in (faster, exact))
    return bool((faster - exact).abs().max() <= most * exact.abs().flatten().quantile(USUAL))


def _rounded(run: Callable[[], Tensor], seed: int) -> Tensor:
    """Return the logits where every number on the way is a step of bfloat16 off.

    Otherwise a network could carry a trigger by differences smaller than that, beside a large constant: bfloat16 would
    lose the trigger, and no clean image would show it. Such a network reacts to steps as it does to its trigger.
    """
    with torch.no_grad(), Rounding(seed, STEP, _ARITHMETIC):
        return run()


def _sums_borne(run: Callable[[], Tensor]) -> bool:
    with torch.no_grad():
        return largest_change(run, [Rounding(seed, STEP) for seed in range(2, ROUNDINGS)])[0] <= BORNE


def has_instructions(device: torch.device) -> bool:
    """Tell whether a device multiplies bfloat16 by itself: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def half(device: torch.device) -> Iterator[None]:
    """Run one pass in bfloat16, but for its first convolution, forwards, and its linear layers."""
    with torch.autocast(device.type, torch.bfloat16), LeadingInHalf(device.type):
        yield


class _Operators(Watch):
    """Notes the names of the operators that a pass ends up with."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def saw(self, operator: Any, args: tuple[Any, ...]) -> None:
        """Note one."""
        self.names.add(str(operator))
