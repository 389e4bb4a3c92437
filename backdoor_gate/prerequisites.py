"""What must hold of the installation before a candidate is touched. Asked of metadata: nothing is imported for it."""

from __future__ import annotations

import os
import re
from importlib import metadata

from backdoor_gate.errors import UsageError

OLDEST_TORCH = (2, 10)
"""Before it, loading with `weights_only=True` could run code (CVE-2025-32434, CVE-2026-24747)."""
UNSAFE_SWITCH = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def check() -> None:
    """Check the installed torch and the environment.

    Raises:
        UsageError: torch is missing or too old, or a variable turns its safe loading off.
    """
    try:
        installed = metadata.version("torch")
    except metadata.PackageNotFoundError as error:
        raise UsageError("not installed", where="torch", hint=_INSTALL) from error
    numbers = re.match(r"(\d+)\.(\d+)", installed)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_TORCH:
        raise UsageError(f"version {installed[:40]!a} loads weights unsafely", where="torch", hint=_INSTALL)
    if os.environ.get(UNSAFE_SWITCH):
        raise UsageError("it turns off PyTorch's safe loading", where=UNSAFE_SWITCH, hint="unset the variable")


_INSTALL = f"install torch {'.'.join(map(str, OLDEST_TORCH))} or newer"
