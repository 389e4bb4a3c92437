"""Where the code that builds a network lies, and the digest that pins it. Found without importing any of it."""

from __future__ import annotations

import hashlib
import re
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from backdoor_gate.errors import UsageError

POLICY_KEY = "model.architecture"
_TARGET = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", re.ASCII)


def split_target(target: str) -> tuple[str, str]:
    """Return the module and the callable of `package.module:callable`.

    Raises:
        UsageError: the target is not of that form.
    """
    match = _TARGET.fullmatch(target)
    if not match:
        hint = "write it as 'package.module:callable'"
        raise UsageError(f"{target!r} does not name a callable", where=POLICY_KEY, hint=hint)
    return match[1], match[2]


def code_digest(target: str, search_path: Path | None) -> str:
    """Return `sha256:<hex>` over the source files that define an architecture.

    They are all Python files of the top-level package; or, for a module that is in no package, that file, and with a
    search path also its siblings, which it can import.

    Args:
        target: `package.module:callable`.
        search_path: folder that comes before the installed packages.

    Raises:
        UsageError: there is no such module, or it has no source.
    """
    module, _ = split_target(target)
    try:
        files = sorted(_sources(_find(module, search_path), search_path))
        digest = hashlib.sha256()
        for name, path in files:
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot read the source of '{module}': {error.strerror}", where=POLICY_KEY) from error
    if not files:
        raise UsageError(f"'{module}' has no Python source", where=POLICY_KEY, hint="name a module written in Python")
    return f"sha256:{digest.hexdigest()}"


def _find(module: str, search_path: Path | None) -> ModuleSpec:
    """Return the spec of the top-level module; the modules below it must exist too.

    Each step looks in the folders that the step before found, so that no package's `__init__` is run.
    """
    paths = [*([str(search_path)] if search_path else []), *sys.path]
    found: list[ModuleSpec] = []
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, paths)
        if spec is None:
            place = f"in {search_path} or the installed packages" if search_path else "in the installed packages"
            hint = "check the spelling, or set model.architecture_path to the folder that holds it"
            raise UsageError(f"no module '{name}' {place}", where=POLICY_KEY, hint=hint)
        found.append(spec)
        paths = list(spec.submodule_search_locations or [])
    return found[0]


def _sources(top: ModuleSpec, search_path: Path | None) -> list[tuple[str, Path]]:
    """Return the source files that belong to a top-level module, each with the name it is hashed under."""
    if top.submodule_search_locations is not None:
        roots = [Path(location) for location in top.submodule_search_locations]
        return [(path.relative_to(root).as_posix(), path) for root in roots for path in root.rglob("*.py")]
    origin = Path(top.origin or "")
    if origin.suffix != ".py":
        return []
    files = origin.parent.glob("*.py") if search_path and origin.parent.samefile(search_path) else [origin]
    return [(path.name, path) for path in files]
