"""Completion scripts, and what the program answers the shells that run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from backdoor_gate.catalogue import BY_NAME
from backdoor_gate.cli import exits
from backdoor_gate.cli.completion import answer
from backdoor_gate.cli.root import root

MAIN = "import sys; sys.argv[0] = 'backdoor-gate'; from backdoor_gate.cli import main; main()"


def answered(words: str) -> list[str]:
    """Return what bash would be offered for the last word."""
    environment = os.environ | {
        "_BACKDOOR_GATE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-c", MAIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_of_every_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.run(root, ("completion", shell)) == 0
    out = capsys.readouterr().out
    assert "_BACKDOOR_GATE_COMPLETE" in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True, timeout=60)


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.run(root, ("completion", "tcsh")) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.parametrize("instruction", ["bash_complete", "bash_guess", "garbage"])
def test_what_no_shell_asks_is_no_verdict(
    instruction: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_BACKDOOR_GATE_COMPLETE", instruction)
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert answer(root) == 2
    assert capsys.readouterr().err == "error: _BACKDOOR_GATE_COMPLETE: no shell asks like that; unset it\n"


def test_commands_formats_and_detectors_are_offered() -> None:
    assert answered("backdoor-gate do") == ["doctor"]
    assert answered("backdoor-gate scan m --report j") == ["json=", "junit="]
    assert answered("backdoor-gate rescan --report j") == ["json=", "junit="]
    assert answered("backdoor-gate detectors ") == list(BY_NAME)
    assert "--policy" in answered("backdoor-gate doctor --p")
