"""Formats whose loading runs the candidate's code: TorchScript and pickled modules.

Only ever called in the locked worker, for a policy that accepts them; the gate then knows the scan as unattested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.scan.loading import architecture as architectures
from backdoor_gate.scan.loading.naming import shown

if TYPE_CHECKING:
    from backdoor_gate.records import Architecture
    from backdoor_gate.scan.loading.detect import WeightsFile

FORMATS = frozenset({"torchscript", "pickle"})
_EXPORT = "export it with torch.export, or save its state_dict"


def read(file: WeightsFile, architecture: Architecture | None) -> nn.Module:
    """Load a module, and with it whatever code the file holds.

    Args:
        file: of a kind in `FORMATS`.
        architecture: its search path is where a pickle may import the pipeline's own classes from.

    Returns:
        The module in float32, in evaluation mode, every parameter frozen.

    Raises:
        RefusedError: it cannot be loaded, or is something other than a module.
        UnmeasuredError: a class is not importable here, a weight is not finite, or it has no evaluation mode.
    """
    if architecture is not None:
        architectures.open_path(architecture.search_path)
    return _settled(_load(file), file.name)


def _load(file: WeightsFile) -> Any:
    try:
        if file.kind == "torchscript":
            return torch.jit.load(str(file.path), map_location="cpu")  # type: ignore[no-untyped-call]
        return torch.load(file.path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        what = f"needs code that is not here: {shown(str(error), 200)}"
        hint = f"name its folder under model.architecture_path, or {_EXPORT}"
        raise UnmeasuredError(what, where=file.name, hint=hint) from error
    except Exception as error:
        if isinstance(error, MemoryError) or "memory" in str(error):  # torch's allocators raise plain RuntimeErrors
            raise
        what = f"cannot be loaded: {type(error).__name__}: {shown(str(error), 200)}"
        raise RefusedError(what, where=file.name, hint=_EXPORT) from error


def _settled(module: Any, where: str) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise RefusedError(f"holds no module, but a value of type {shown(type(module).__name__)}", where=where)
    try:
        module.float()
        for parameter in module.parameters():  # one by one: a TorchScript module cannot do it itself
            parameter.requires_grad_(False)
        if getattr(module, "training", False):  # a frozen TorchScript module has lost the attribute
            module.eval()
    except Exception as error:
        what = f"has no evaluation mode: {type(error).__name__}: {shown(str(error), 200)}"
        raise UnmeasuredError(what, where=where, hint=_EXPORT) from error
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UnmeasuredError(f"non-finite weights in {shown(name)}", where=where, hint="train the model again")
    return module
