"""The command line: arguments, choice of concrete classes, printing, exit codes. The one place that knows them all."""

from __future__ import annotations

from backdoor_gate.cli.root import main

__all__ = ["main"]
