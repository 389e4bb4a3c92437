"""The pipeline's own trusted code: built into a network, then filled with the candidate's weights, exactly."""

from __future__ import annotations

import importlib
import os
import sys
from functools import reduce
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.parameter import is_lazy

from backdoor_gate.architecture_digest import POLICY_KEY, split_target
from backdoor_gate.errors import RefusedError, UsageError
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.tensors import unsupported_dtype

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from backdoor_gate.records import Architecture

_LISTED = 3
"""Names shown of each kind of mismatch."""


def build(architecture: Architecture) -> nn.Module:
    """Import the architecture's callable and call it.

    Its search path is put first on `sys.path` and stays there, because a network may import more when it runs;
    modules that are already imported stay what they are. Of what is imported from then on, source is run in place of
    bytecode kept in `__pycache__`.

    Raises:
        UsageError: there is no such module or callable, it raises, or it returns something other than a module.
    """
    target = architecture.target
    module_name, attribute = split_target(target)
    module = _import(module_name, architecture.search_path)
    try:
        factory = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        hint = "check the spelling of the callable"
        raise UsageError(f"module '{module_name}' has no '{attribute}'", where=POLICY_KEY, hint=hint) from error
    try:
        network = factory(**dict(architecture.kwargs))  # type: ignore[operator]
    except (Exception, SystemExit) as error:
        hint = "check model.architecture_kwargs"
        raise UsageError(f"{target} raised {_fault(error)}", where=POLICY_KEY, hint=hint) from error
    if not isinstance(network, nn.Module):
        hint = "return a torch.nn.Module"
        raise UsageError(f"{target} returned {type(network).__name__}", where=POLICY_KEY, hint=hint)
    if any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        raise UsageError(f"{target} has lazy layers", where=POLICY_KEY, hint="give every layer its input size")
    return network


def open_path(search_path: Path | None) -> None:
    """Put the pipeline's folder of trusted code first on `sys.path`, and read no bytecode for source from then on.

    Bytecode in `__pycache__` can be marked as good whatever the source says, and no digest covers it.
    """
    sys.pycache_prefix = os.devnull  # no folder, so there is nothing below it and never will be
    if search_path and str(search_path) not in sys.path[:1]:
        sys.path.insert(0, str(search_path))


def _import(name: str, search_path: Path | None) -> ModuleType:
    open_path(search_path)
    importlib.invalidate_caches()
    top = name.partition(".")[0]
    expected = PathFinder.find_spec(top, [str(search_path)]) if search_path else None
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        hint = "check model.architecture and model.architecture_path, and that its own imports are installed"
        raise UsageError(f"cannot import '{name}': {_fault(error)}", where=POLICY_KEY, hint=hint) from error
    if expected and expected.origin and getattr(sys.modules[top], "__file__", None) != expected.origin:
        hint = "rename the module"
        raise UsageError(f"'{top}' in {search_path} has the name of a loaded module", where=POLICY_KEY, hint=hint)
    return module


def _fault(error: BaseException) -> str:
    """Return an exception as one line."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {shown(line, 200)}" if line else type(error).__name__


def fill(network: nn.Module, weights: Mapping[str, Tensor], target: str, where: str) -> nn.Module:
    """Put the weights into the network: every name, every shape, no casts between kinds.

    Args:
        network: as `build` returns it.
        weights: tensors by name, floats as float32.
        target: the architecture's name for messages.
        where: the weights file.

    Returns:
        The network in float32, in evaluation mode, every parameter frozen.

    Raises:
        RefusedError: the weights and the architecture do not fit each other.
    """
    network = network.float()
    expected = network.state_dict()
    _check_fit(expected, weights, target, where)
    for name, tensor in weights.items():
        if tensor.dtype.is_floating_point != expected[name].dtype.is_floating_point:
            raise unsupported_dtype(name, f"{tensor.dtype} where {target} has {expected[name].dtype}", where)
    try:
        network.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise RefusedError(f"weights do not fit {target}: {_fault(error)}", where=where) from error
    return network.eval().requires_grad_(False)


def _check_fit(expected: Mapping[str, object], weights: Mapping[str, Tensor], target: str, where: str) -> None:
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in expected.items()}
    wrong = [
        f"{shown(name)} {tuple(tensor.shape)} for {shapes[name]}"
        for name, tensor in weights.items()
        if name in expected and tuple(tensor.shape) != shapes[name]
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", wrong))
    faults = [f"{kind} {_listing(names)}" for kind, names in kinds if names]
    if faults:
        what = f"weights do not fit {target}: {', '.join(faults)}"
        raise RefusedError(what, where=where, hint=_advice(expected, weights))


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return " ".join(map(shown, names[:_LISTED])) + more


def _advice(expected: Collection[str], weights: Collection[str]) -> str:
    """Return what to do next; a prefix before every name is the usual mistake."""
    prefix = next(iter(weights)).partition(".")[0] + "."
    if {name.removeprefix(prefix) for name in weights} == set(expected):
        return f"every name starts with '{shown(prefix)}': save the state_dict of the module inside the wrapper"
    return f"check {POLICY_KEY} and model.architecture_kwargs"
