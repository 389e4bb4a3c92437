"""The network under audit, as the detectors see it: images in, logits out, every image counted."""

from __future__ import annotations

import math
import time
from copy import copy, deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.network import precision
from backdoor_gate.scan.network.folding import fold
from backdoor_gate.scan.network.leading import Leading

if TYPE_CHECKING:
    from backdoor_gate.records import InputSpec
    from backdoor_gate.scan.loading.interface import FinalLayer, LoadedModel

PROBABILITY_TOLERANCE = 1e-3
"""Rows that sum to one within this are probabilities."""

PROBABILITY_FLOOR = 1e-37
"""Added before a logarithm, so that a saturated class keeps a finite logit; next to the least that float32 has, below
which its logit has no gradient either."""

PROBES = 8
"""Images of the first forward pass."""


class OutOfTimeError(UnmeasuredError):
    """The scan's time is over; raised between two passes, so that what was measured before can still be reported."""


def require_time(deadline: float) -> None:
    """Raise OutOfTimeError where a deadline on the monotonic clock has passed."""
    if time.monotonic() > deadline:
        raise OutOfTimeError("out of time", hint="raise limits.time or --budget")


class Subject:
    """A frozen classifier of images in the policy's input range.

    Attributes:
        num_classes: K.
        spec: shape, range and normalisation of the images.
        device: where it runs.
        final_layer: its last linear layer, None where none was found.
        passes: images put through it so far.
        led: those of them that took a gradient to the images.
        deadline: on the monotonic clock; no pass begins after it.
        gives_probabilities: whether the network's own output is probabilities.
        halved: whether the passes that lead a search are in bfloat16.
        shortened: whether they take the shorter ways where they are not.
    """

    def __init__(
        self,
        model: LoadedModel,
        spec: InputSpec,
        num_classes: int | None,
        device: torch.device,
        deadline: float = math.inf,
    ) -> None:
        """Put the model on the device and check its output on probes.

        Raises:
            UnmeasuredError: the output is not (N, K) finite logits or probabilities, or carries no information, or the
                network is not one that can be measured, see `LoadedModel.check`.
        """
        if model.check is not None:
            model.check(spec.shape)
        self.spec = spec
        self.device = device
        self.final_layer: FinalLayer | None = model.final_layer
        self.passes = self.led = 0
        self.deadline = deadline
        self._network: nn.Module = model.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean, self._std = (_per_channel(values, device) for values in (spec.mean, spec.std))
        probes = self._probes()
        output = self._first_output(probes, num_classes)
        self.num_classes = output.shape[1]
        self.gives_probabilities = _are_probabilities(output)
        fold(self._network, lambda: self.logits(probes))
        self.halved = precision.pays(lambda: self.logits(probes), device)
        self.shortened = precision.shortens(lambda: self.logits(probes))

    def recheck_ways(self, images: Tensor) -> None:
        """Keep the faster ways to lead a search only where they hold on real images: a network can expect the probes.

        Args:
            images: (N, C, H, W) in the input range.
        """
        other, few = self.counted_apart(), images[:PROBES]
        self.halved = self.halved and precision.pays(lambda: other.logits(few), self.device)
        self.shortened = self.shortened and precision.shortens(lambda: other.logits(few))

    def counted_apart(self) -> Subject:
        """Return the same network with a count of passes of its own."""
        other = copy(self)
        other.passes = other.led = 0
        return other

    def apart(self) -> Subject:
        """Return a copy that may run beside this one: the same weights, but what `forward` keeps is its own.

        Raises:
            Exception: whatever copying a stranger's module ends with.
        """
        other = self.counted_apart()
        shared: list[Tensor] = [*self._network.parameters(), *self._network.buffers()]
        other._network = deepcopy(self._network, {id(tensor): tensor for tensor in shared})
        return other

    def logits(self, images: Tensor) -> Tensor:
        """Return (N, K) logits of (N, C, H, W) images in the input range.

        A model that gives probabilities gives log-probabilities here.
        """
        return self._as_logits(self._output(images))

    def leading(self, images: Tensor) -> Tensor:
        """Return logits as `logits` does, for passes whose gradient leads a search: faster, and rounded more coarsely.

        What they lead to has to be measured with `logits`.
        """
        if self.halved:
            with precision.half(self.device):
                return self._as_logits(self._output(images).float())
        if self.shortened:
            with Leading():
                return self._as_logits(self._output(images))
        return self.logits(images)

    def _as_logits(self, output: Tensor) -> Tensor:
        return (output + PROBABILITY_FLOOR).log() if self.gives_probabilities else output

    def _output(self, images: Tensor) -> Tensor:
        require_time(self.deadline)
        self.passes += images.shape[0]
        self.led += images.shape[0] if images.requires_grad else 0
        if self._mean is not None and self._std is not None:
            images = (images - self._mean) / self._std
        output: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return output

    def _probes(self) -> Tensor:
        """Return random images of the input range."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand((PROBES, *self.spec.shape), generator=generator)
        return (self.spec.low + noise * (self.spec.high - self.spec.low)).to(self.device)

    def _first_output(self, probes: Tensor, num_classes: int | None) -> Tensor:
        """Check the output on the probes, with gradient."""
        try:
            output = self._output(probes.clone().requires_grad_())
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            if "memory" in str(error):  # torch's allocators raise plain RuntimeErrors
                raise
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UnmeasuredError(
                f"the model does not take images of shape {list(self.spec.shape)}: {line}",
                hint="state the right shape under model.input.shape",
            ) from error
        _check_output(output, num_classes)
        if not output.requires_grad:
            raise UnmeasuredError(
                "no gradient reaches the model's input", hint="export the model without detach() or no_grad()"
            )
        return output.detach()


def _per_channel(values: tuple[float, ...] | None, device: torch.device) -> Tensor | None:
    return None if values is None else torch.tensor(values, device=device).view(1, -1, 1, 1)


def _check_output(output: object, num_classes: int | None) -> None:
    """Raise UnmeasuredError unless the output is (PROBES, K ≥ 2) finite, of the right K, and not constant."""
    if not isinstance(output, Tensor):
        raise UnmeasuredError(
            f"model output invalid: {type(output).__name__} instead of a tensor",
            hint="only image classifiers that return one tensor of logits can be scanned",
        )
    if output.dim() != 2 or output.shape[0] != PROBES or output.shape[1] < 2:
        raise UnmeasuredError(
            f"model output invalid: shape {list(output.shape)} for {PROBES} images, expected [{PROBES}, classes]",
            hint="only image classifiers that return one score per class can be scanned",
        )
    if num_classes is not None and output.shape[1] != num_classes:
        raise UnmeasuredError(
            f"model output invalid: {output.shape[1]} classes, the policy or the data says {num_classes}",
            hint="give the right model, or state model.num_classes, as where the clean data lacks the last classes",
        )
    if not output.isfinite().all():
        raise UnmeasuredError("model output invalid: not finite", hint="check the weights and model.input.range")
    if (output.amax(dim=0) - output.amin(dim=0)).max() <= 0:
        raise UnmeasuredError(
            "model output carries no information: the same for every image", hint="check that the weights are trained"
        )


def _are_probabilities(output: Tensor) -> bool:
    """Tell whether every row is in [0, 1] and sums to one."""
    in_range = bool((output >= 0).all() and (output <= 1).all())
    return in_range and bool(((output.sum(dim=1) - 1).abs() <= PROBABILITY_TOLERANCE).all())
