"""What the model takes and gives, by order of trust: the policy first, then the clean data, last the candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.errors import RefusedError, UnmeasuredError, UsageError
from backdoor_gate.records import Declared, InputSpec

if TYPE_CHECKING:
    from backdoor_gate.candidate_facts import Signature
    from backdoor_gate.scan.data.clean import CleanImages, StoredImages

RANK = 4
"""Dimensions of a batch of images: N, C, H, W."""


@dataclass(frozen=True, slots=True)
class DataShape:
    """What the clean images say: one image's (C, H, W), and how many classes their labels need at least."""

    shape: tuple[int, int, int]
    least_classes: int | None


def shape_of(clean: CleanImages | StoredImages | None) -> DataShape | None:
    """Return what the clean images say of the model's input and classes; None without any."""
    if clean is None:
        return None
    _, channels, height, width = clean.images.shape
    return DataShape((channels, height, width), None if clean.labels is None else int(clean.labels.max()) + 1)


def agree(declared: Declared, data: DataShape | None, signature: Signature | None) -> tuple[InputSpec, int | None]:
    """Settle the input's shape and the number of classes.

    Returns:
        The input, and the number of classes that the output must have; None leaves it to the output.

    Raises:
        UsageError: the policy contradicts the clean data.
        RefusedError: the candidate's signature contradicts the policy or the data.
        UnmeasuredError: nobody says what shape the images have, the model does not take images, or has more classes
            than the data, which the policy does not say.
    """
    if declared.shape and data and declared.shape != data.shape:
        raise UsageError(
            f"the policy says images of {list(declared.shape)}, the clean data has {list(data.shape)}",
            where="model.input.shape",
            hint="correct one of the two",
        )
    if declared.num_classes and data and data.least_classes and data.least_classes > declared.num_classes:
        raise UsageError(
            f"the policy says {declared.num_classes} classes, a label of the clean data is {data.least_classes - 1}",
            where="model.num_classes",
            hint="labels count from 0; correct one of the two",
        )
    trusted = declared.shape or (data.shape if data else None)
    shape = _shape(trusted, signature)
    classes = _classes(declared.num_classes, data, signature)
    _check_channels(declared, shape)
    return InputSpec(shape, declared.low, declared.high, declared.mean, declared.std), classes


def _shape(trusted: tuple[int, int, int] | None, signature: Signature | None) -> tuple[int, int, int]:
    """Return one image's shape; the signature may only confirm what a better source says."""
    signed = signature.input.shape if signature and signature.input else None
    if signed is not None and len(signed) != RANK:
        raise UnmeasuredError(
            f"the signature's input has {len(signed)} dimensions, an image batch has {RANK} (N, C, H, W)",
            where="MLmodel",
            hint="only image classifiers can be scanned for now",
        )
    if trusted is None:
        if signed is None or min(signed[1:]) < 1:
            raise UnmeasuredError(
                "nothing states the shape of the images",
                where="model.input.shape",
                hint="state it in the policy as [channels, height, width], or give clean data",
            )
        return signed[1], signed[2], signed[3]
    if signed and any(given not in (-1, known) for given, known in zip(signed[1:], trusted, strict=True)):
        raise RefusedError(
            f"the signature's input {list(signed[1:])} contradicts {list(trusted)} of the policy or the data",
            where="MLmodel",
            hint="check that this is the model that the policy is for",
        )
    return trusted


def _classes(declared: int | None, data: DataShape | None, signature: Signature | None) -> int | None:
    """Return the number of classes that the output must have.

    Where there are labels it is theirs and not the candidate's to say: outputs that never win, but are easily moved to,
    would make what is planted look usual.
    """
    output = signature.output.shape if signature and signature.output else None
    signed = output[1] if output and len(output) == 2 and output[1] > 0 else None
    least = data.least_classes if data else None
    if signed and declared and signed != declared:
        raise RefusedError(
            f"the signature's output has {signed} classes, the policy says {declared}",
            where="MLmodel",
            hint="check that this is the model that the policy is for",
        )
    if signed and least and signed < least:
        raise RefusedError(
            f"the signature's output has {signed} classes, the clean data needs {least}",
            where="MLmodel",
            hint="check that this is the model that the data is for",
        )
    if signed and least and not declared and signed > least:
        raise UnmeasuredError(
            f"the signature's output has {signed} classes, the labels of the clean data are below {least}",
            where="model.num_classes",
            hint="state the number in the policy where the clean data lacks the last classes",
        )
    return declared or least or signed


def _check_channels(declared: Declared, shape: tuple[int, int, int]) -> None:
    for name, values in (("mean", declared.mean), ("std", declared.std)):
        if values is not None and len(values) != shape[0]:
            raise UsageError(
                f"{len(values)} values for images of {shape[0]} channels",
                where=f"model.input.normalize.{name}",
                hint="give one value per channel",
            )
