"""What the GitHub Action says of a scan: the step's outputs, taken from the scan's JSON report.

`python -I -m backdoor_gate.github EXIT_CODE REPORT_JSON` runs after the scan, whatever became of it, and exits with the
step's code: zero only where the scan ended with zero and its report says PASS.
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backdoor_gate.errors import ExitCode
from backdoor_gate.records import Verdict
from backdoor_gate.reports import text

PASS_CODES = (ExitCode.OK, ExitCode.UNWRITTEN)
"""The only exit codes beside which a report that says PASS is believed: a PASS may not have been written everywhere."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of the action.

    Attributes:
        verdict: INCONCLUSIVE where there is no report that can be read.
        candidate: the version that was scanned; empty where none was found.
        anomaly_index: of the detector with the smallest p-value; None where no detector has both.
        suspect_classes: class numbers.
        report: path of the JSON report, empty where there is none.
    """

    verdict: Verdict = Verdict.INCONCLUSIVE
    candidate: str = ""
    anomaly_index: float | None = None
    suspect_classes: tuple[int, ...] = ()
    report: str = ""

    def items(self) -> dict[str, str]:
        """Return the outputs by the names that `action.yml` gives them."""
        return {
            "verdict": self.verdict.value,
            "candidate": self.candidate,
            "anomaly-index": "" if self.anomaly_index is None else f"{self.anomaly_index:.6g}",
            "suspect-classes": json.dumps(self.suspect_classes),
            "report": self.report,
        }


def read_outputs(exit_code: int, report: Path) -> Outputs:
    """Read the outputs from a JSON report; a missing or malformed one says nothing, so it is INCONCLUSIVE.

    Args:
        exit_code: of the scan. A report cannot be better than it.
        report: the JSON report of this scan.
    """
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
        verdict = Verdict(document["verdict"])
        if verdict is Verdict.PASS and exit_code not in PASS_CODES:
            verdict = Verdict.INCONCLUSIVE
        return Outputs(
            verdict=verdict,
            candidate=_scanned(document["candidate"]),
            anomaly_index=_most_telling_index(document["detectors"]),
            suspect_classes=tuple(_whole(value) for value in document["suspect_classes"]),
            report=str(report),
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Outputs()


def _most_telling_index(detectors: list[dict[str, Any]]) -> float | None:
    pairs = [(found["p_value"], found["anomaly_index"]) for found in detectors]
    known = [(_number(p), _number(index)) for p, index in pairs if p is not None and index is not None]
    return min(known, key=lambda pair: (pair[0], -pair[1]))[1] if known else None


def _scanned(candidate: dict[str, Any]) -> str:
    if candidate["digest"] is None:  # then the reference is only what was asked for
        return ""
    if not isinstance(candidate["uri"], str):
        raise TypeError("not a reference")
    return candidate["uri"]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a class number")
    return value


def main(arguments: list[str]) -> int:
    """Set the outputs of the step that runs now, and return its exit code.

    A scan that wrote a report has also written the step's summary; for one that did not, a line says so.

    Args:
        arguments: the scan's exit code and the path of its JSON report.
    """
    code: int = ExitCode.INTERNAL
    try:
        code = int(arguments[0])
        outputs = read_outputs(code, Path(arguments[1]))
        _append("GITHUB_OUTPUT", "".join(text.github_output(name, value) for name, value in outputs.items().items()))
        if not outputs.report:
            missing = f"The scan ended with exit code {code} and left no report; the step's log says why."
            _append("GITHUB_STEP_SUMMARY", f"### Backdoor gate: {outputs.verdict}\n\n{missing}\n")
        return code or outputs.verdict.exit_code
    except Exception as error:
        # Left to Python, any fault would end with 1, which says BLOCK.
        sys.stderr.write(f"backdoor-gate action: the outputs could not be set: {error!r}\n")
        return code or ExitCode.INTERNAL


def _append(variable: str, content: str) -> None:
    with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
