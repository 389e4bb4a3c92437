"""From a folder of hostile bytes to a frozen network: find the weights file, check it, read it as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.errors import RefusedError, UsageError
from backdoor_gate.scan.loading import architecture as architectures
from backdoor_gate.scan.loading import pt2, safetensors, state_dict, unsafe
from backdoor_gate.scan.loading.detect import WeightsFile, find_weights
from backdoor_gate.scan.loading.final_layer import final_layer
from backdoor_gate.scan.loading.interface import LoadedModel

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from backdoor_gate.records import Architecture


def load(
    root: Path,
    formats: tuple[str, ...],
    architecture: Architecture | None,
    num_classes: int | None,
    folder: str | None = None,
) -> LoadedModel:
    """Load the candidate below `root`, without running anything that came with it unless `formats` names such a format.

    Args:
        root: folder with the private copy.
        formats: acceptable formats: `safetensors`, `state_dict`, `pt2`; `torchscript` and `pickle` run its code.
        architecture: trusted code that builds the network; a pt2 with a free batch dimension does without.
        num_classes: width of the last layer to look for; None for any.
        folder: where MLflow loads the weights from, as a POSIX path below `root`; None without an MLmodel file.

    Raises:
        RefusedError: the bytes are malformed, of an unacceptable format, do not fit the architecture, or are not what a
            deployment loads.
        UnmeasuredError: a weight is not finite, or a pt2 was exported for one batch size only.
        UsageError: an architecture is needed and none is named, or it cannot be built.
    """
    file = find(root, formats, folder)
    if file.kind in unsafe.FORMATS:
        network = unsafe.read(file, architecture)
        return LoadedModel(network, file.kind, final_layer(network, num_classes))
    if file.kind == "pt2":
        assert file.archive is not None
        exported = pt2.read(file.archive, file.name)
        if exported.fixed_batch is None:
            return LoadedModel(exported.network, "pt2", exported.final_layer(num_classes), exported.network.check)
        if architecture is None:
            raise pt2.fixed_batch_error(exported.fixed_batch, file.name)
        model = _fill(architecture, exported.weights, file, num_classes)
        exported.check_same(model.network, architecture.target)
        return model
    weights = read_weights(file)
    if architecture is None:
        hint = "name the callable that builds the network, as 'package.module:callable'"
        raise UsageError(f"{file.name} holds only weights", where="model.architecture", hint=hint)
    return _fill(architecture, weights, file, num_classes)


def find(root: Path, formats: tuple[str, ...], folder: str | None = None) -> WeightsFile:
    """Return the only weights file below `root`; arguments as of `load`.

    Raises:
        RefusedError: there is none, more than one, one of a format that is not acceptable, a malformed one, or one that
            a deployment may pass over for another file.
    """
    file = find_weights(root, unsafe.FORMATS.intersection(formats), folder)
    if file.kind not in formats:
        hint = "add it to model.formats of the policy, or upload " + (" or ".join(formats) or "nothing")
        raise RefusedError(f"format {file.kind} is not allowed by the policy", where=file.name, hint=hint)
    return file


def read_weights(file: WeightsFile) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or state_dict file by name; raises as `load`."""
    if file.kind == "safetensors":
        return safetensors.read(file.path, file.name)
    assert file.archive is not None
    return state_dict.read(file.path, file.archive, file.name)


def _fill(
    architecture: Architecture, weights: dict[str, Tensor], file: WeightsFile, num_classes: int | None
) -> LoadedModel:
    network = architectures.build(architecture)
    network = architectures.fill(network, weights, architecture.target, file.name)
    return LoadedModel(network, file.kind, final_layer(network, num_classes))
