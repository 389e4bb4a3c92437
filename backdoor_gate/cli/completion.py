"""`completion`: the script that teaches a shell to complete commands, options, report formats and detectors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from click import shell_completion

from backdoor_gate.cli.exits import PROGRAM, complain, emit
from backdoor_gate.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_BACKDOOR_GATE_COMPLETE"
"""Environment variable by which the script asks the program for completions."""


_EPILOG = """\b
For this session:   eval "$(backdoor-gate completion bash)"   (or zsh)
                    backdoor-gate completion fish | source
For every session:  put that line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the completion script of a shell."""
    kind = shell_completion.get_completion_class(shell)
    assert kind is not None
    root = context.find_root().command
    written = kind(root, {}, PROGRAM, VARIABLE)
    emit(written.source_template % written.source_vars())  # source() would run bash to ask for its version
    return 0


def answer(root: click.Command) -> int | None:
    """Answer a shell that asks for completions; None where none does, else the exit code."""
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return None
    try:
        failed = shell_completion.shell_complete(root, {}, PROGRAM, VARIABLE, instruction)
    except (KeyError, ValueError):  # of what a shell sets besides
        failed = 1
    # click's own 1 would say BLOCK to whoever has left the variable set.
    return complain(UsageError("no shell asks like that", where=VARIABLE, hint="unset it")) if failed else 0


def report_targets(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the format of a report's `FORMAT=PATH`."""
    from backdoor_gate.reports import Format  # noqa: PLC0415

    return _matching([f"{known.value}=" for known in Format], incomplete)


def summary_targets(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the format of a summary's `FORMAT=PATH`."""
    from backdoor_gate.reports.rescan import Format  # noqa: PLC0415

    return _matching([f"{known.value}=" for known in Format], incomplete)


def detector_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a detector."""
    from backdoor_gate.catalogue import BY_NAME  # noqa: PLC0415

    return _matching(list(BY_NAME), incomplete)


def _matching(values: list[str], incomplete: str) -> list[CompletionItem]:
    return [shell_completion.CompletionItem(value) for value in values if value.startswith(incomplete)]
