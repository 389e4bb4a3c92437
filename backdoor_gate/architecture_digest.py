"""Where the code that builds a network lies, and the digest that pins it. Found without importing any of it."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY_KEY = "model.architecture"
_TARGET = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", re.ASCII)

MODULES = (".py", ".pyc", ".so", ".pyd")
"""How the files end that an import statement runs, on any system: source, bytecode without it, extension modules."""
MAX_FILES = 20_000
"""Such files and folders of an architecture. The largest packages of networks have some thousands."""
MAX_BYTES = 256 << 20
"""Code hashed for an architecture. The largest packages have some tens of MiB."""


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
    """Return `sha256:<hex>` over the files of code that define an architecture.

    They are all modules below the search path, where there is one, for it comes first in whatever is imported;
    and, where the module is not found there, those of its top-level package, or the file of a module in no package.
    Hidden folders are left out, because no import statement names them, and `__pycache__`, because the worker does not
    read it.

    Args:
        target: `package.module:callable`.
        search_path: folder that comes before the installed packages.

    Raises:
        UsageError: there is no such module, it has no code, or there is more than the limits.
    """
    module, _ = split_target(target)
    try:
        files = _code(_find(module, search_path), search_path)
        digest = hashlib.sha256()
        for name, content in sorted(_hashed(files)):
            digest.update(f"{name}\0{content}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot read the code of '{module}': {error.strerror}", where=POLICY_KEY) from error
    if not files:
        raise UsageError(f"'{module}' has no code", where=POLICY_KEY, hint="name the module that builds the network")
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


def _code(top: ModuleSpec, search_path: Path | None) -> list[tuple[str, Path]]:
    """Return the files of code that belong to a top-level module, each with the name it is hashed under."""
    own = _below([search_path]) if search_path else []
    if top.submodule_search_locations is not None:
        roots = [Path(location) for location in top.submodule_search_locations]
        outside = [root for root in roots if not (search_path and _is_within(root, search_path))]
        return own + _below(outside)
    origin = Path(top.origin or "")
    if not origin.name.endswith(MODULES):
        return []
    return own if search_path and _is_within(origin, search_path) else [*own, (origin.name, origin)]


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path that was found by way of a folder lies in it; a link in it counts as what it is found as."""
    return path.absolute().is_relative_to(folder.absolute())


def _below(roots: list[Path]) -> list[tuple[str, Path]]:
    """Return the modules below some folders, linked folders too, each with its path relative to its root.

    Raises:
        UsageError: there are more of them than the limit, or more folders.
        OSError: a folder could not be read.
    """
    files: list[tuple[str, Path]] = []
    folders, visited = [(root, "") for root in roots], 0
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                path, name = folder / entry.name, f"{prefix}{entry.name}"
                if entry.name.endswith(MODULES) and entry.is_file():
                    files.append((name, path))
                elif entry.is_dir() and not entry.name.startswith(".") and entry.name != "__pycache__":
                    folders.append((path, f"{name}/"))
        visited += 1
        if visited + len(folders) + len(files) > MAX_FILES:
            raise _too_much(f"more than {MAX_FILES:,} modules and folders", roots[0])
    return files


def _hashed(files: list[tuple[str, Path]]) -> Iterator[tuple[str, str]]:
    """Yield the name and the hex SHA-256 of each file.

    Raises:
        UsageError: together they are larger than the limit.
        OSError: one could not be read.
    """
    left = MAX_BYTES
    for name, path in files:
        with path.open("rb") as file:
            content = file.read(left + 1)
        left -= len(content)
        if left < 0:
            raise _too_much(f"more than {MAX_BYTES >> 20} MiB of code", path.parent)
        yield name, hashlib.sha256(content).hexdigest()


def _too_much(what: str, place: Path) -> UsageError:
    hint = "let model.architecture_path be a folder that holds the network's code and little else"
    return UsageError(f"{what} below {place}", where=POLICY_KEY, hint=hint)
