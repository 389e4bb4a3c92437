"""`doctor`: what is missing on the machine, and what is wrong with the inputs of a scan, before there is one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.exits import emit
from backdoor_gate.cli.options import data_option, device_option, policy_option, tracking_option
from backdoor_gate.errors import ExitCode, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.doctor.examine import Examined
    from backdoor_gate.doctor.finding import Finding
    from backdoor_gate.doctor.readings import Reading
    from backdoor_gate.policy import Policy

_SHOWN = 5
"""Other preparations that are shown; JSON holds all."""

_EPILOG = """\b
Exit codes:
  0  nothing has to be mended
  2  the call, the policy or the clean data has to be mended
  3  the candidate's bytes are not acceptable
  4  a measurement could not be had here: isolation, registry, gradients, time
Several problems end with the one that counts most: 3, 4, 2.
"""


@click.command(epilog=_EPILOG, short_help="Find what is wrong with this machine, a policy or its clean images.")
@click.argument("model", required=False)
@policy_option("Policy that a scan would use.", required=False)
@data_option()
@device_option
@tracking_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings in JSON, and nothing else.")
def doctor(  # noqa: PLR0913, PLR0917 (one argument per option)
    model: str | None, policy_file: Path | None, data: str | None, device: str, tracking_uri: str | None, as_json: bool
) -> int:
    """Say what is missing on this machine, and whether MODEL takes its clean images as the policy prepares them.

    MODEL is what scan takes; without it only the machine is looked at. The candidate is put through the locked worker,
    its images prepared in the usual other ways, too: range, normalisation, order of the channels and of the classes.
    Nothing is judged, and nothing is written.
    """
    from backdoor_gate.doctor.examine import Examined, examine_model  # noqa: PLC0415
    from backdoor_gate.doctor.machine import machine_findings  # noqa: PLC0415
    from backdoor_gate.orders import Request  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    policy = _policy(policy_file)
    found = machine_findings(policy, device, tracking_uri)
    examined = Examined(())
    if model is not None:
        request = Request(model, policy, data, device=device)
        examined = examine_model(request, source_for(model, tracking_uri))
    findings = (*found, *(one for one in examined.findings if not any(_same(one, other) for other in found)))
    code = worst([ExitCode.OK, *(finding.exit_code for finding in findings)])
    emit(_json(findings, examined, code) if as_json else _text(findings, examined.readings))
    return code


def _same(one: Finding, other: Finding) -> bool:
    """Tell whether two problems are one, met twice."""
    return one.exit_code != 0 and (one.what, one.where) == (other.what, other.where)


def _policy(file: Path | None) -> Policy:
    """Return the policy, the shipped one where none is given."""
    from backdoor_gate.policy.load import load, shipped  # noqa: PLC0415

    if file is None:
        return shipped(Path("shipped policy"))
    policy = load(file)
    policy.check_paths()
    return policy


def _text(findings: Sequence[Finding], readings: Sequence[Reading]) -> str:
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    width = max(len(finding.level.value) for finding in findings)
    lines = [f"{finding.level.value:<{width}}  {finding}" for finding in findings]
    if len(readings) > 1:
        best = sorted(readings[1:], key=_misfit)[:_SHOWN]
        rows = [(readings[0], "  (the policy's)"), *((reading, "") for reading in best)]
        lines += ["", "Clean images that are right, and their cross-entropy, by how they are prepared:"]
        lines += [
            f"  {reading.accuracy:4.0%}  {_misfit(reading):6.3f}  {_way(reading)}{mark}" for reading, mark in rows
        ]
    problems = sum(finding.exit_code != 0 for finding in findings)
    lines += ["", f"{problems or 'no'} problem{'' if problems == 1 else 's'}"]
    return "\n".join(terminal(line) for line in lines)


def _misfit(reading: Reading) -> float:
    """Return the cross-entropy; infinity where the network gave no useful output."""
    return float("inf") if reading.loss is None else reading.loss


def _way(reading: Reading) -> str:
    way = reading.preparation
    parts = [f"range [{way.low:g}, {way.high:g}]"]
    if way.mean is not None and way.std is not None:
        mean, std = (", ".join(f"{value:.4g}" for value in part) for part in (way.mean, way.std))
        parts.append(f"normalize mean [{mean}] std [{std}]")
    return ", ".join([*parts, *(["channels reversed"] if way.reversed else [])])


def _json(findings: Sequence[Finding], examined: Examined, code: int) -> str:
    import json  # noqa: PLC0415

    document = {
        "schema_version": "1",
        "exit_code": code,
        "findings": [asdict(finding) for finding in findings],
        "class_order": {str(label): found for label, found in examined.order.items()},
        "trials": [
            {**asdict(reading.preparation), "accuracy": reading.accuracy, "cross_entropy": reading.loss}
            for reading in examined.readings
        ],
    }
    return json.dumps(document, indent=2)
