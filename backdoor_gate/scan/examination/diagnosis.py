"""How a candidate takes its clean images: prepared as the policy says, and in the other usual ways, forward only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.examination import Diagnosis, Fault, Preparation, Trial
from backdoor_gate.records import InputSpec
from backdoor_gate.scan import loading
from backdoor_gate.scan.data.clean import StoredImages, read_clean
from backdoor_gate.scan.data.contract import agree, shape_of
from backdoor_gate.scan.examination.preparations import prepared, usual
from backdoor_gate.scan.leads import named_leads
from backdoor_gate.scan.machine import choose_device, deadline_of
from backdoor_gate.scan.network.passes import INFERENCE_CHUNK
from backdoor_gate.scan.network.rounding import check_rounding
from backdoor_gate.scan.network.subject import OutOfTimeError, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from backdoor_gate.records import Job
    from backdoor_gate.scan.loading.interface import LoadedModel

TRIED = 500
"""Images of one trial at most."""

RANDOM = 32
"""Random images in place of clean ones."""

WITH_GRADIENT = 32
"""Images whose gradient is looked at."""

SHARPNESSES = torch.cat([torch.zeros(1), torch.logspace(-2, 2, 41)])
"""Factors on logits of spread one, among which the one that suits them best is taken; 0 makes all classes alike."""


def diagnose(job: Job) -> Diagnosis:
    """Put the clean images through the candidate, prepared in several ways.

    Raises:
        RefusedError: the candidate's bytes are not acceptable.
        UsageError: the clean data, the policy's architecture or its declarations are wrong.
        UnmeasuredError: the model cannot be measured at all, whatever the preparation.
    """
    deadline = deadline_of(job.limits)
    torch.manual_seed(job.seed)
    stored = _shuffled(job)
    spec, num_classes = agree(job.declared, shape_of(stored), job.signature)
    model = loading.load(job.candidate, job.formats, job.architecture, num_classes, job.weights_in)
    looked = _Look(model, spec, num_classes, choose_device(job.device), deadline)
    images = _random(spec) if stored is None else torch.from_numpy(stored.images[:TRIED]).float()
    whole_numbers = stored is not None and stored.images.dtype == np.uint8
    labels = stored.labels if stored else None
    ways = [looked.present]
    if labels is not None:
        ways += usual(images, looked.present, whole_numbers=whole_numbers)
    known = None if labels is None else torch.from_numpy(labels[:TRIED])
    trials = looked.trials(images, known, ways, whole_numbers=whole_numbers)
    return Diagnosis(
        format=model.format,
        num_classes=looked.num_classes,
        input=spec,
        images=len(stored.images) if stored else 0,
        available=stored.available if stored else 0,
        whole_numbers=whole_numbers,
        lowest=float(images.min()),
        highest=float(images.max()),
        labels=None if labels is None else tuple(labels.tolist()),
        trials=trials,
        margins=looked.margins,
        gradients=looked.gradients,
        probabilities=looked.probabilities,
        fault=looked.fault,
    )


def _shuffled(job: Job) -> StoredImages | None:
    """Return the sample that a scan would use, in random order, so that its first images mix the classes."""
    if job.data is None:
        return None
    stored = read_clean(job.data, job.declared, max_images=job.max_images, seed=job.seed)
    order = np.random.default_rng(job.seed).permutation(len(stored.images))
    return replace(stored, images=stored.images[order], labels=None if stored.labels is None else stored.labels[order])


def _random(spec: InputSpec) -> Tensor:
    noise = torch.rand((RANDOM, *spec.shape), generator=torch.Generator().manual_seed(0))
    return spec.low + noise * (spec.high - spec.low)


class _Look:
    """One network, looked at through several preparations."""

    def __init__(
        self, model: LoadedModel, spec: InputSpec, num_classes: int | None, device: torch.device, deadline: float
    ) -> None:
        self._model, self._wanted, self._device, self._deadline = model, num_classes, device, deadline
        self.present = Preparation(spec.low, spec.high, spec.mean, spec.std)
        self._shape = spec.shape
        self.num_classes = 0
        self.probabilities = False
        self.margins: tuple[float, ...] = ()
        self.gradients: tuple[float | None, ...] = ()
        self.fault: Fault | None = None

    def trials(
        self, images: Tensor, labels: Tensor | None, ways: list[Preparation], *, whole_numbers: bool
    ) -> tuple[Trial, ...]:
        """Try the preparations until the time is over.

        Raises:
            UnmeasuredError: the network's output is of no use under any.
        """
        trials: list[Trial] = []
        fault: UnmeasuredError = OutOfTimeError("out of time", hint="raise limits.time")
        for way in ways:
            try:
                logits = self._tried(prepared(images, way, whole_numbers=whole_numbers).to(self._device), way)
            except OutOfTimeError:
                break
            except UnmeasuredError as error:
                fault = error if not trials else fault
                trials.append(Trial(way, ()))
                continue
            losses = () if labels is None else tuple(fitted_losses(logits, labels).tolist())
            trials.append(Trial(way, tuple(logits.argmax(dim=1).tolist()), losses))
        if not trials or self.num_classes == 0:
            raise fault
        return tuple(trials)

    def _tried(self, images: Tensor, way: Preparation) -> Tensor:
        """Return the (N, K) logits on the CPU; of the present preparation keep what else is asked of it."""
        spec = InputSpec(self._shape, way.low, way.high, way.mean, way.std)
        subject = Subject(self._model, spec, self._wanted, self._device, self._deadline)
        logits = _logits(subject, images)
        self.num_classes = subject.num_classes
        if way is self.present:
            self.probabilities = subject.gives_probabilities
            self.margins = tuple(named_leads(logits).tolist())
            self.gradients = _gradients(subject, images[:WITH_GRADIENT])
            self.fault = _fault(subject, images)
        return logits.cpu()


def fitted_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (N,) the cross-entropy of each image with its label, the logits scaled such that the mean is least.

    Without the scale, whatever makes a network less sure of itself would pass for a better input.

    Args:
        logits: (N, K), finite.
        labels: (N,) int64 below K.
    """
    logits = logits.double() - logits.double().mean(dim=1, keepdim=True)
    logits /= logits.std(correction=0).clamp_min(torch.finfo(torch.float64).tiny)
    losses = (F.cross_entropy(logits * sharpness, labels, reduction="none") for sharpness in SHARPNESSES)
    return min(losses, key=lambda each: float(each.mean()))


@torch.no_grad()
def _logits(subject: Subject, images: Tensor) -> Tensor:
    found = torch.cat([subject.logits(chunk) for chunk in torch.split(images, INFERENCE_CHUNK)])
    if not found.isfinite().all():
        raise UnmeasuredError("model output invalid: not finite on the clean images", hint="check model.input.range")
    return found


def _fault(subject: Subject, images: Tensor) -> Fault | None:
    """Return why a scan would not measure the network on these images, for all that it gives logits."""
    try:
        check_rounding(subject, images)
    except OutOfTimeError:
        raise
    except UnmeasuredError as error:
        return Fault(error.what, error.hint)
    return None


def _gradients(subject: Subject, images: Tensor) -> tuple[float | None, ...]:
    """Return, for each image, the largest change of the loss towards the next class by one pixel over its range."""
    images = images.clone().requires_grad_()
    logits = subject.logits(images)
    towards = (logits.argmax(dim=1) + 1) % subject.num_classes
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, towards, reduction="sum"), images)
    largest = gradient.abs().flatten(1).amax(dim=1) * (subject.spec.high - subject.spec.low)
    return tuple(value if np.isfinite(value) else None for value in largest.tolist())
