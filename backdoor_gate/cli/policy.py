"""`policy init`, `policy check` and `policy schema`. The checking library is imported only where a file is checked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.exits import emit
from backdoor_gate.cli.kinds import shape as read_shape
from backdoor_gate.cli.options import tracking_option
from backdoor_gate.errors import OutputError, UsageError, together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backdoor_gate.doctor.draft import Draft
    from backdoor_gate.policy import Policy
    from backdoor_gate.verdict.judgement import Judgement

_DEFAULT = "policy.yaml"


@click.group()
def policy() -> None:
    """Write, check and describe policy files."""


@policy.command()
@click.argument("model", required=False)
@click.option(
    "--output", type=click.Path(path_type=Path), default=_DEFAULT, show_default=True, metavar="FILE", help="Where to."
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("--data", metavar="PATH", help="Clean images: an npz file, a class-per-folder tree or an artifact URI.")
@click.option("--classes", type=click.IntRange(min=2), metavar="K", help="Number of classes.")
@click.option(
    "--shape", callback=read_shape, metavar="C,H,W", help="Channels, height and width of an image, such as 3,32,32."
)
@click.option("--architecture", metavar="NAME", help="Your code that builds the network, as package.module:callable.")
@click.option("--architecture-path", metavar="FOLDER", help="Folder to import it from.")
@tracking_option
def init(  # noqa: PLR0913, PLR0917 (one argument per option)
    model: str | None,
    output: Path,
    force: bool,
    data: str | None,
    classes: int | None,
    shape: list[int] | None,
    architecture: str | None,
    architecture_path: str | None,
    tracking_uri: str | None,
) -> int:
    """Write the shipped policy, with comments, as a start for your own.

    With MODEL (what scan takes), the candidate is inspected in the locked worker, and format, classes and input shape
    are filled in; with --data also the range and normalisation that fit the clean images best. What is left to
    fill in is told. The exit code is zero if the file was written.
    """
    from backdoor_gate.policy import parse  # noqa: PLC0415
    from backdoor_gate.policy.data import contradictions  # noqa: PLC0415
    from backdoor_gate.policy.template import filled  # noqa: PLC0415

    given = {
        "clean": data and _from(output.parent, data),
        "num_classes": classes,
        "shape": shape,
        "architecture": architecture,
        "architecture_path": architecture_path and _from(output.parent, architecture_path),
    }
    values = {key: value for key, value in given.items() if value is not None}
    if not force and os.path.lexists(output):
        raise _exists(output)
    faults = tuple(contradictions(parse(filled(values).encode("utf-8", "surrogateescape"), output)))
    if faults:
        raise together(faults)
    drafted = _drafted(model, values, tracking_uri, output) if model is not None else None
    text = drafted.text if drafted else filled(values)
    parse(text.encode("utf-8", "surrogateescape"), output)
    try:
        with output.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise _exists(output) from error
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", where=str(output)) from error
    emit(_told(drafted, output))
    return 0


def _exists(output: Path) -> UsageError:
    return UsageError("exists", where=str(output), hint="add --force to overwrite it")


def _drafted(model: str, values: Mapping[str, object], tracking_uri: str | None, output: Path) -> Draft:
    from backdoor_gate.doctor.draft import draft  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    return draft(model, values, source_for(model, tracking_uri), output)


def _told(drafted: Draft | None, output: Path) -> str:
    """Return what was written, and what is left to the user."""
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    check = f"check it with 'backdoor-gate policy check {output}'"
    if drafted is None:
        return f"{output}: written; {check}"
    lines = [f"{output}: written for {drafted.facts}; {check}"]
    if drafted.left:
        lines += ["Left to you:", *(f"  {finding}" for finding in drafted.left)]
    return "\n".join(terminal(line) for line in lines)


@policy.command()
@click.argument("file", type=click.Path(path_type=Path), default=_DEFAULT)
def check(file: Path) -> int:
    """Check a policy file and say what it orders (FILE: policy.yaml by default)."""
    from backdoor_gate.policy import load  # noqa: PLC0415
    from backdoor_gate.policy.data import contradictions  # noqa: PLC0415
    from backdoor_gate.policy.references import judgement_with_references  # noqa: PLC0415

    checked = load(file)
    faults = [*checked.absent_paths(), *contradictions(checked)]
    with _kept(faults):
        judgement = judgement_with_references(checked)
    if checked.signing and not any("signing" in fault.what for fault in faults):
        from backdoor_gate.lifecycle.trust import trusted_keys  # noqa: PLC0415

        with _kept(faults):
            trusted_keys(checked)
    if faults:
        raise together(faults)
    emit(f"{file}: ok\n{_summary(checked, judgement)}")
    return 0


@contextlib.contextmanager
def _kept(faults: list[UsageError]) -> Iterator[None]:
    """Keep the error that the block ends with, so that what comes after it is looked at, too."""
    try:
        yield
    except UsageError as error:
        faults.append(error)


@policy.command()
def schema() -> int:
    """Print the JSON Schema of policy files, for editors and linters."""
    import json  # noqa: PLC0415

    from backdoor_gate.policy import json_schema  # noqa: PLC0415

    emit(json.dumps(json_schema(), indent=2))
    return 0


def _from(folder: Path, data: str) -> str:
    """Return a path of the working folder as the policy file in another folder must name it."""
    from backdoor_gate.sources import is_artifact  # noqa: PLC0415

    return data if is_artifact(data) or Path(data).is_absolute() else Path(os.path.relpath(data, folder)).as_posix()


def _summary(checked: Policy, judgement: Judgement) -> str:
    from backdoor_gate.catalogue import DETECTORS  # noqa: PLC0415
    from backdoor_gate.units import format_duration, format_size  # noqa: PLC0415

    running = {plan.name: plan for plan in checked.detectors}
    absent = [spec.name for spec in DETECTORS if spec.name not in running]
    rows = [
        ("required", ", ".join(checked.judgement.required)),
        ("not required", ", ".join(name for name, plan in running.items() if not plan.required)),
        ("not run", ", ".join(absent)),
        ("false blocks", f"{checked.judgement.false_block_rate:g} of clean models{_nominal(judgement)}"),
        ("references", _references(judgement)),
        ("limits", f"{format_duration(checked.limits.seconds)}, {format_size(checked.limits.memory)}"),
        ("signing", _signing(checked)),
        ("warning", _unsafe(checked)),
        ("clean images", ", ".join(sorted({plan.data or "none: synthetic" for _, plan in checked.entries}))),
    ]
    return "\n".join(f"  {label:<13} {text}" for label, text in rows if text)


def _nominal(judgement: Judgement) -> str:
    """Return that the rate is only asked for, where no references bear it out."""
    return "" if judgement.references else ", nominal; 'backdoor-gate calibrate' measures it"


def _references(judgement: Judgement) -> str:
    """Return how many references there are, and what they are good for."""
    references = judgement.references
    if references is None:
        return ""
    enough = references.smallest_rate <= judgement.false_block_rate
    support = f"support a false-block rate of {references.smallest_rate:.3g}{'' if enough else ': too few'}"
    models = f"{len(references.counted)} known-good models, {references.blocked} blocked by the shipped limits"
    return f"{models}; {judgement.references_unfit or support}"


def _unsafe(checked: Policy) -> str:
    named = sorted({name for _, plan in checked.entries for name in plan.unsafe_formats})
    return f"{', '.join(named)} candidates can run code: never a PASS" if named else ""


def _signing(checked: Policy) -> str:
    own = "the user's own key"
    if checked.signing is None:
        return own
    return f"{checked.signing.key or own}; trusted: {', '.join(path.name for path in checked.signing.trusted)}"
