"""Run one command of the gate as a Databricks task: the task fails unless the command ends with zero.

As a program of its own, since a task's interpreter has its own ideas about `sys.exit`.
"""

from __future__ import annotations

import subprocess
import sys

command = [sys.executable, "-c", "from backdoor_gate.cli import main; main()", *sys.argv[1:]]
code = subprocess.run(command, check=False).returncode  # noqa: S603 - the program is the gate
if code:
    raise RuntimeError(f"backdoor-gate ended with {code}; docs/exit-codes.md says what that means")
