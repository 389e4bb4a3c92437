"""`detectors`: what the gate can look for, and what it cannot see."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from backdoor_gate.catalogue import BY_NAME, DETECTORS, PACK_VERSION
from backdoor_gate.cli.completion import detector_names
from backdoor_gate.cli.exits import emit

if TYPE_CHECKING:
    from backdoor_gate.catalogue import DetectorSpec


@click.command()
@click.argument("name", required=False, shell_complete=detector_names)
def detectors(name: str | None) -> int:
    """List the detectors, or show what one sees, cannot see, and which settings it has."""
    if name is None:
        emit(_overview())
    elif name in BY_NAME:
        emit(_details(BY_NAME[name]))
    else:
        raise click.BadParameter(f"no detector '{name}'; there are {', '.join(BY_NAME)}", param_hint="NAME")
    return 0


def _overview() -> str:
    width = max(len(spec.name) for spec in DETECTORS)
    lines = [f"Detector pack {PACK_VERSION}; required ones are marked *", ""]
    for spec in DETECTORS:
        mark = "*" if spec.required else " "
        lines.append(_wrapped(f"{mark} {spec.name:<{width}}  ", spec.claim))
    return "\n".join([*lines, "", "backdoor-gate detectors NAME shows one of them."])


def _details(spec: DetectorSpec) -> str:
    rows = [
        ("sees", spec.claim),
        ("blind to", spec.blind_to),
        ("measures", f"{spec.unit} of each class; the {spec.side.value} one is suspicious"),
        ("clean images", ": ".join(filter(None, (spec.clean_images, spec.without_data)))),
        ("required", "unless the policy says otherwise" if spec.required else "only if the policy says so"),
        ("source", spec.source),
    ]
    lines = [f"{spec.name}: {spec.title}", "", *(_wrapped(f"{label:<13} ", text) for label, text in rows)]
    if spec.settings:
        lines += ["", f"Settings, under detectors.{spec.name} of the policy:"]
        lines += [
            f"  {each.name:<10} {each.meaning} Between {each.low} and {each.high}; {each.default} by default."
            for each in spec.settings
        ]
    return "\n".join(lines)


def _wrapped(label: str, text: str) -> str:
    after = " " * len(label)
    return textwrap.fill(text, 100, initial_indent=label, subsequent_indent=after, break_on_hyphens=False)
