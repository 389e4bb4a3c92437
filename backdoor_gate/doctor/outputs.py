"""What a diagnosis says of the network's outputs and gradients."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from backdoor_gate.doctor.finding import Finding, note, ok, problem
from backdoor_gate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.examination import Diagnosis

SATURATED_MARGIN = 50.0
"""Logits this far apart leave the other classes a probability that float32 rounds to nothing; trained networks have
some ten."""

NO_GRADIENT = 1e-8
"""Change of the loss over a pixel's whole range below which nothing can be optimised in float32."""


def output_findings(diagnosis: Diagnosis, *, explained: bool) -> tuple[Finding, ...]:
    """Judge outputs and gradients.

    Args:
        diagnosis: the facts.
        explained: whether a better preparation is known: then strange outputs are its consequence.
    """
    found = [
        *_constant(diagnosis, explained),
        *_saturated(diagnosis, explained),
        *_gradients(diagnosis),
        *_unsteady(diagnosis, explained),
    ]
    return tuple(found) or (ok("outputs", f"{_kind(diagnosis)} of {diagnosis.num_classes} classes, with gradients"),)


def _kind(diagnosis: Diagnosis) -> str:
    return "probabilities" if diagnosis.probabilities else "logits"


def _constant(diagnosis: Diagnosis, explained: bool) -> Iterator[Finding]:
    """Yield that all images are given one class."""
    predicted = diagnosis.trials[0].predicted
    hint = "check model.input and that the weights are trained"
    if not predicted:
        yield problem(
            "constant",
            "as the policy prepares them, the images get no usable output",
            "model",
            hint,
            ExitCode.UNMEASURED,
        )
    elif diagnosis.images and len(set(predicted)) == 1 and len(set(diagnosis.labels or range(2))) > 1:
        what = f"all {len(predicted)} clean images are given class {predicted[0]}"
        yield (
            note("constant", what, "model", "mend what is said above")
            if explained
            else problem("constant", what, "model", hint)
        )


def _saturated(diagnosis: Diagnosis, explained: bool) -> Iterator[Finding]:
    """Yield that the largest logit drowns the others."""
    if not diagnosis.margins or median(diagnosis.margins) <= SATURATED_MARGIN:
        return
    what = f"outputs are saturated: the two largest {_kind(diagnosis)} are {median(diagnosis.margins):.3g} apart"
    hint = (
        "export the logits, without softmax" if diagnosis.probabilities else "check model.input.range for a factor 255"
    )
    yield note("saturated", what, "model", "mend what is said above" if explained else hint)


def _gradients(diagnosis: Diagnosis) -> Iterator[Finding]:
    """Yield that triggers cannot be searched for by gradient."""
    known = [value for value in diagnosis.gradients if value is not None]
    broken = len(diagnosis.gradients) - len(known)
    if broken:
        hint = "check the weights, and the model for a division or a root of zero"
        what = f"gradients are not finite for {broken} of {len(diagnosis.gradients)} images"
        yield problem("gradients", what, "model", hint, ExitCode.UNMEASURED)
    vanished = sum(value < NO_GRADIENT for value in known)
    if 2 * vanished > len(diagnosis.gradients):
        hint = "export the logits, without softmax, rounding or quantisation, and check model.input.range"
        what = f"gradients vanish for {vanished} of {len(diagnosis.gradients)} images"
        yield problem("gradients", what, "model", hint, ExitCode.UNMEASURED)


def _unsteady(diagnosis: Diagnosis, explained: bool) -> Iterator[Finding]:
    """Yield that what is computed hangs on more than the image."""
    if diagnosis.fault is None:
        return
    what, hint = diagnosis.fault.what, diagnosis.fault.hint
    if explained:
        yield note("unsteady", what, "model", "mend what is said above")
    else:
        yield problem("unsteady", what, "model", hint, ExitCode.UNMEASURED)
