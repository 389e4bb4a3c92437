"""Calls of the gate, held against its command tree without running them."""

from __future__ import annotations

import shlex

import click

from backdoor_gate.cli.root import root

IMAGE = "$BACKDOOR_GATE_IMAGE"


def check_call(line: str) -> None:
    """Fail where a line of shell calls a command that does not exist, or calls it as it cannot be called."""
    words = shlex.split(line, comments=True)
    if IMAGE in words:
        words = ["backdoor-gate", *words[words.index(IMAGE) + 1 :]]
    assert words.pop(0) == "backdoor-gate", line
    end = next((index for index, word in enumerate(words) if word in {">", "|"}), None)
    check_words(words[:end])


def check_words(words: list[str]) -> None:
    """Fail where these are no arguments of the program."""
    command: click.Command = root
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    if not {"--help", "-h", "--version"} & set(words):
        command.make_context(command.name, list(words))
