"""The command group and the program's entry point."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from backdoor_gate import __version__
from backdoor_gate.cli import exits
from backdoor_gate.cli.calibrate import calibrate
from backdoor_gate.cli.completion import answer, completion
from backdoor_gate.cli.demo import demo
from backdoor_gate.cli.detectors import detectors
from backdoor_gate.cli.doctor import doctor
from backdoor_gate.cli.explain import explain
from backdoor_gate.cli.key import key
from backdoor_gate.cli.policy import policy
from backdoor_gate.cli.promotion import promote, verify
from backdoor_gate.cli.rescan import rescan
from backdoor_gate.cli.scan import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG = """\b
Exit codes:
  0  PASS: no evidence of a backdoor under the tests listed
  1  BLOCK: evidence of a backdoor
  2  usage or policy error: nothing was judged
  3  REFUSED: the candidate's bytes are not acceptable
  4  INCONCLUSIVE: the evidence does not suffice for a verdict
  5  the verdict stands, but a report or the registry could not be written
  6  not verified: there is no valid verdict for these bytes
  70 internal error, 130 interrupted
"""


@click.group(
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "terminal_width": 100},
)
@click.version_option(__version__, prog_name="backdoor-gate")
def root() -> None:
    """Scan a candidate model for backdoors before it is promoted."""


for command in (scan, explain, verify, promote, rescan, calibrate, policy, doctor, key, detectors, demo, completion):
    root.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with the contract's exit code.

    Args:
        arguments: without the program's name; None takes them from the process.
    """
    exits.open_closed_streams()
    completed = answer(root)
    if completed is not None:
        exits.leave(completed)
    exits.leave(exits.run(root, sys.argv[1:] if arguments is None else arguments))
