"""A first policy for a candidate: what its bytes say, how its clean images want to be prepared, what is left to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.doctor.examine import examine_model, inspect_model
from backdoor_gate.doctor.finding import Finding, Level, note, problem
from backdoor_gate.orders import Request
from backdoor_gate.policy import parse
from backdoor_gate.policy.template import filled
from backdoor_gate.worker.wire import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backdoor_gate.candidate_facts import Signature
    from backdoor_gate.examination import Inspection, Preparation
    from backdoor_gate.policy import Policy
    from backdoor_gate.sources.interface import Source

_FIXED_BATCH = "log the model again with an input example of batch >= 2, or name the code that builds it"
_NO_GRAPH = "name your trusted code that builds the network, as package.module:callable, and its folder"


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy to be written.

    Attributes:
        text: of the file.
        facts: what the candidate is, in a line.
        left: what the user has to fill in or should look at.
    """

    text: str
    facts: str
    left: tuple[Finding, ...]


def draft(model: str, given: Mapping[str, object], source: Source, output: Path) -> Draft:
    """Draft a policy for a candidate.

    Args:
        model: MODEL as the user gave it.
        given: what the user said of it, by key of the template.
        source: where the model is.
        output: where the policy will be; its folder is what relative paths start from.

    Raises:
        GateError: the candidate cannot be had, or its bytes are not acceptable.
    """
    shipped = _parsed(filled({}), output)
    inspection, job = inspect_model(Request(model, shipped), source)
    values = {**_found(inspection, job.signature), **given}
    facts = _facts(inspection, values)
    if _incomplete(inspection, given):
        left = tuple(_left(inspection, values))
        return Draft(_headed(filled(values), model, facts, left), facts, left)
    examined = examine_model(Request(model, _parsed(filled(values), output)), source)
    equal: tuple[Finding, ...] = ()
    if examined.best and not examined.best.reversed:
        values |= _as_keys(examined.best)
        equal = _equal(examined.also)
        examined = examine_model(Request(model, _parsed(filled(values), output)), source)
    left = (*equal, *(finding for finding in examined.findings if finding.level is not Level.OK))
    return Draft(_headed(filled(values), model, facts, left), facts, left)


def _parsed(text: str, output: Path) -> Policy:
    return parse(text.encode("utf-8", "surrogateescape"), output)


def _found(inspection: Inspection, signature: Signature | None) -> dict[str, object]:
    """Return the template's keys that the candidate itself gives, the graph's word before the signature's."""
    declared = signature.input.shape if signature and signature.input else ()
    shape = inspection.shape or (declared[1:] if len(declared) == 4 and min(declared[1:]) > 0 else None)
    scores = signature.output.shape if signature and signature.output else ()
    classes = inspection.num_classes or (scores[1] if len(scores) == 2 and scores[1] > 1 else None)
    found = {"formats": [inspection.format], "shape": shape and list(shape), "num_classes": classes}
    return {key: value for key, value in found.items() if value}


def _incomplete(inspection: Inspection, given: Mapping[str, object]) -> bool:
    """Tell whether the network cannot be built yet."""
    return (not inspection.graph or inspection.fixed_batch is not None) and "architecture" not in given


def _left(inspection: Inspection, values: Mapping[str, object]) -> list[Finding]:
    """Return what to fill in where the network cannot be built yet."""
    what, hint = ("the weights come without a network", _NO_GRAPH)
    if inspection.graph:
        what, hint = (f"exported with a fixed batch of {inspection.fixed_batch}", _FIXED_BATCH)
    left = [problem("architecture", what, "model.architecture", hint)]
    if "shape" not in values and "clean" not in values:
        hint = "state it as [channels, height, width], or give clean images"
        left.append(problem("shape", "nothing states the shape of the images", "model.input.shape", hint))
    if "clean" not in values:
        hint = "name a few hundred labelled images that the model's maker did not choose"
        left.append(note("no-data", "no clean images: evidence from synthetic ones is unverified", "data.clean", hint))
    return left


def _equal(also: str) -> tuple[Finding, ...]:
    """Return that the images alone did not decide what was filled in."""
    what = "what is filled in fits the clean images best, but not alone"
    return (note("normalisation", what, "model.input", also),) if also else ()


def _as_keys(way: Preparation) -> dict[str, object]:
    keys: dict[str, object] = {"range": [way.low, way.high]}
    if way.mean is not None and way.std is not None:
        keys["normalize"] = {"mean": list(way.mean), "std": list(way.std)}
    return keys


def _facts(inspection: Inspection, values: Mapping[str, object]) -> str:
    parts = [inspection.format]
    parts += [f"{values['num_classes']} classes"] if "num_classes" in values else []
    return ", ".join([*parts, *([f"images of {values['shape']}"] if "shape" in values else [])])


def _headed(text: str, model: str, facts: str, left: tuple[Finding, ...]) -> str:
    """Return the policy with what it was written from, and what keeps it from running as it is."""
    first, _, rest = text.partition("\n")
    lines = [first, f"## Written from {model!a}: {facts}. What it says of the model is to be checked."]
    lines += [f"## To be mended first: {plain(str(finding))}." for finding in left if finding.level is Level.PROBLEM]
    return "\n".join([*lines, rest])
