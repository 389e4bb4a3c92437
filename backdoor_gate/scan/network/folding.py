"""Batch normalisation folded into the convolution before it: the same function, two passes over the memory fewer.

A normalisation that uses its running statistics is an affine map, and so is a convolution; their product is one
convolution. What follows what is seen on a pass over probes, so that any way of writing `forward` will do. So is who
reads what: an output of the network that hardly changes on the probes, such as a saturated one, proves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from backdoor_gate.scan.network.watching import Watch, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGREEMENT = 1e-4
"""Largest change of an output, as a share of the largest output, at which the folded network is the same network."""

LARGEST = 2.0**10
"""Largest weight of a convolution, and largest factor of a normalisation, that become one layer. What overflows between
the two, and so answers a trigger with infinities, would be finite in their product."""

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


class _Call(NamedTuple):
    """One run of a layer. It holds the tensors, whose ids are unique only while they live."""

    module: nn.Module
    given: Tensor
    given_version: int
    """Counts the changes in place, such as an activation's."""
    output: Tensor
    output_version: int
    operators: int
    """That had run by then."""


class _Readers(Watch):
    """Notes which memory every operator reads, by its number."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self._of: defaultdict[int, list[int]] = defaultdict(list)

    def saw(self, operator: Any, args: tuple[Any, ...]) -> None:
        """Note one."""
        for memory in {_memory(tensor) for tensor in tensors_in(args)}:
            self._of[memory].append(self.operators)
        self.operators += 1

    def count(self, tensor: Tensor, since: int = 0) -> int:
        """Return how many operators have read a tensor that has lived since so many had run."""
        return sum(number >= since for number in self._of[_memory(tensor)])


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Folding:
    """One normalisation folded into the convolution before it, and how to take that back."""

    def __init__(self, network: nn.Module, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self._convolution, self._norm = convolution, norm
        self._own = convolution.weight, convolution.bias
        self._owner = next(
            (module, name) for module in network.modules() for name, child in module.named_children() if child is norm
        )
        own = convolution.weight, convolution.bias, norm.weight, norm.bias
        self._both = folded(*own, *_statistics(norm), norm.eps)

    def possible(self) -> bool:
        return self._both is not None

    def do(self) -> None:
        assert self._both is not None
        weight, bias = self._both
        self._convolution.weight = nn.Parameter(weight, requires_grad=False)
        self._convolution.bias = nn.Parameter(bias, requires_grad=False)
        setattr(*self._owner, nn.Identity())

    def undo(self) -> None:
        self._convolution.weight, self._convolution.bias = self._own
        setattr(*self._owner, self._norm)


@torch.no_grad()
def fold(network: nn.Module, run: Callable[[], Tensor]) -> int:
    """Fold in place what can be; leave alone what would change the network's output.

    What somebody else reads as well, such as the shortcut of a pre-activation block, is not to be changed. The rest is
    the same function but for rounding. That is tried on the probes, of all together first, then of one after the other.

    Args:
        network: in evaluation mode, every parameter frozen.
        run: returns the network's output, always for the same images.

    Returns:
        How many normalisations are gone.
    """
    before, pairs = _watched(network, run)
    found = [one for pair in pairs if (one := _Folding(network, *pair)).possible()]
    for one in found:
        one.do()
    if not found or same_but_for_rounding(before, run()):
        return len(found)
    for one in found:
        one.undo()
    return sum(_folds(one, before, run) for one in found)


def _folds(one: _Folding, before: Tensor, run: Callable[[], Tensor]) -> bool:
    one.do()
    if same_but_for_rounding(before, run()):
        return True
    one.undo()
    return False


def folded(  # noqa: PLR0913, PLR0917 (what the two layers consist of)
    weight: Tensor,
    bias: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor] | None:
    """Return weight and bias of the convolution that does both, computed in double precision; None beyond LARGEST.

    Args:
        weight: (O, I/groups, H, W) of the convolution.
        bias: (O,) of the convolution, or None.
        gain: (O,) of the normalisation, or None.
        shift: (O,) of the normalisation, or None.
        mean: (O,), running.
        variance: (O,), running.
        epsilon: of the normalisation.
    """
    scale = (variance.double() + epsilon).rsqrt()
    if gain is not None:
        scale = scale * gain.double()
    offset = -mean.double() if bias is None else bias.double() - mean.double()
    offset = offset * scale
    if shift is not None:
        offset = offset + shift.double()
    kernel, shifted = (weight.double() * scale.view(-1, 1, 1, 1)).to(weight.dtype), offset.to(weight.dtype)
    # Written so that what is no number is beyond it, too.
    small = all(bool((part.abs() <= LARGEST).all()) for part in (weight, scale))
    return (kernel, shifted) if small and bool(kernel.isfinite().all() and shifted.isfinite().all()) else None


def _watched(network: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[Pair]]:
    """Run the network once; return its output and each normalisation with the convolution whose output it got.

    The class is compared, not its ancestors: a module of another class, a parametrised one or one with hooks may do
    more than its name says.
    """
    calls: list[_Call] = []
    readers = _Readers()

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if given:  # by position, as everyone does
            calls.append(_Call(module, given[0], given[0]._version, output, output._version, readers.operators))

    handles = [module.register_forward_hook(note) for module in _plain(network)]
    try:
        with readers:
            output = run()
    finally:
        for handle in handles:
            handle.remove()
    once = {call.module for call in calls if sum(other.module is call.module for other in calls) == 1}
    alone = [call for call in calls if call.module in once]
    made = {
        (id(call.output), call.output_version): call.module
        for call in alone
        if type(call.module) is nn.Conv2d and _read_once(call, call.module, readers)
    }
    pairs = []
    for call in alone:
        source = made.get((id(call.given), call.given_version))
        if source is not None and isinstance(call.module, nn.BatchNorm2d):
            pairs.append((source, call.module))
    return output, pairs


def _read_once(call: _Call, convolution: nn.Conv2d, readers: _Readers) -> bool:
    """Tell whether a convolution's output has one reader, and its weights have none but itself."""
    weights = [convolution.weight, *([] if convolution.bias is None else [convolution.bias])]
    return readers.count(call.output, call.operators) == 1 and all(readers.count(weight) == 1 for weight in weights)


def _plain(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the convolutions, and the normalisations that use their running statistics."""
    for module in network.modules():
        hooked = module._forward_hooks or module._forward_pre_hooks
        running = type(module) is nn.BatchNorm2d and not module.training and module.running_mean is not None
        if (running or type(module) is nn.Conv2d) and not hooked:
            yield module


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def same_but_for_rounding(before: Tensor, after: Tensor) -> bool:
    """Tell whether two outputs are equal up to rounding."""
    change, largest = (after - before).abs().max(), before.abs().max()
    return bool(change <= AGREEMENT * largest)
