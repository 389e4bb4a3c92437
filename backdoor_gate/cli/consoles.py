"""Consoles that leave the exit code alone: rich's own end the program with 1 when a reader leaves, which says BLOCK."""

from __future__ import annotations

from rich.console import Console


class ResultConsole(Console):
    """Standard output."""

    def on_broken_pipe(self) -> None:
        """Tell the caller that nobody reads the result."""
        raise BrokenPipeError


class ProgressConsole(Console):
    """Standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(stderr=True, quiet=quiet)

    def on_broken_pipe(self) -> None:
        """Go on: a scan is worth its verdict also where nobody watches."""
