"""`calibrate`: known-good models in, a file of references out, and in words what they are good for."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backdoor_gate.cli.auditing import audited, check_writable, tell
from backdoor_gate.cli.exits import complain, emit
from backdoor_gate.cli.options import data_option, measuring_options, policy_option
from backdoor_gate.errors import ExitCode, GateError, UsageError, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.lifecycle.calibrate import Population
    from backdoor_gate.orders import Request
    from backdoor_gate.policy import Policy
    from backdoor_gate.verdict.references import References


@click.command()
@click.argument("models", nargs=-1, metavar="MODEL...")
@policy_option("Policy that measures.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="References to write.")
@click.option("--extend", is_flag=True, help="Add to the references in FILE; models that it has are not scanned again.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="MODEL",
    help="Keep this one in the file, but do not count it. May be given several times.",
)
@data_option()
@measuring_options
@click.option("--quiet", is_flag=True, help="No progress.")
def calibrate(  # noqa: PLR0913, PLR0917 (one argument per option)
    models: tuple[str, ...],
    policy_file: Path,
    out: Path,
    extend: bool,
    exclude: tuple[str, ...],
    data: str | None,
    device: str,
    seed: int,
    tracking_uri: str | None,
    quiet: bool,
) -> int:
    """Measure known-good models, so that scans can say how often they block such a model.

    MODEL as in scan. The file holds scores only. It is written after every model: go on with --extend where a run was
    interrupted. Exit code 1: the shipped limits block a model that counts.
    """
    from backdoor_gate.orders import Request  # noqa: PLC0415
    from backdoor_gate.policy import load  # noqa: PLC0415

    policy = replace(load(policy_file), references=None)
    population = _population(policy, out, extend, exclude, models)
    codes = [0]
    _check(models, tracking_uri)
    for at, model in enumerate(models, 1):
        tell(f"{at}/{len(models)} {model}", quiet)
        request = Request(model, policy, data, device=device, seed=seed)
        codes.append(_measure(request, population, tracking_uri, quiet))
        _write(population, out)
    _write(population, out)
    return _finish(population.references, policy, out, codes)


# ---------------------------------------------------------------------------------------------- before the scans


def _population(policy: Policy, out: Path, extend: bool, exclude: Sequence[str], models: Sequence[str]) -> Population:
    """Return what the file holds already, where it is to be extended.

    Raises:
        UsageError: there is a file that is not to be extended, or none that could be, or one that cannot be written; or
            nothing to do.
    """
    from backdoor_gate.lifecycle.calibrate import Population, check_extensible  # noqa: PLC0415
    from backdoor_gate.policy.references import read  # noqa: PLC0415

    if not models and not (extend and exclude):
        raise UsageError("no MODEL was given", hint="name known-good models, as for 'scan'")
    if not extend and os.path.lexists(out):
        raise UsageError("exists", where=str(out), hint="add --extend to add to it, or name another file")
    check_writable(out)
    references = None
    if extend:
        references, _ = read(out)
        check_extensible(references, policy, out)
    known = {*models, *(model.name for model in references.models)} if references else {*models}
    if unknown := [name for name in exclude if name not in known]:
        hint = "give its name as it was given to 'calibrate'"
        raise UsageError(f"--exclude: {unknown[0]!a:.200} is none of the models", hint=hint)
    population = Population(policy, references, frozenset(exclude))
    population.mark_excluded()
    return population


def _check(models: Sequence[str], tracking_uri: str | None) -> None:
    """Find out before long scans that a model was not named well; what cannot be read is told at its turn.

    Raises:
        UsageError: one was not.
    """
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    for model in models:
        try:
            source_for(model, tracking_uri).resolve(model)
        except UsageError:
            raise
        except GateError:
            continue


# ---------------------------------------------------------------------------------------------- the scans


def _measure(request: Request, population: Population, tracking_uri: str | None, quiet: bool) -> int:
    """Scan one model and add it; return the exit code that it adds to the run's."""
    try:
        digest = _digest(request.reference, tracking_uri)
    except UsageError:
        raise
    except GateError as error:
        return complain(error)
    if known := population.known(digest):
        tell(f"{request.reference}: is there already, as {known.name}", quiet)
        if request.reference in population.excluded and not known.excluded:
            population.exclude(digest)
            _warn(f"{request.reference}: excluded; it is the same as {known.name}, which does not count any more")
        return 0
    report = audited(request, None, tracking_uri, [], quiet).report
    reference = population.add(report)
    decision = report.decision
    if reference is None:
        _warn(f"{request.reference}: {decision.verdict.value}, so it is no reference: {decision.reasons[0]}")
        return decision.verdict.exit_code
    if reference.blocked and not reference.excluded:
        _warn(
            f"{request.reference}: the shipped limits block this model: {decision.reasons[0]}. It counts. If it is not "
            f"known to be good, take it out: --extend --exclude {request.reference}"
        )
    return 0


def _digest(reference: str, tracking_uri: str | None) -> str:
    """Return the digest of a model's bytes."""
    from backdoor_gate.orders import no_room, private_copy, private_folder  # noqa: PLC0415
    from backdoor_gate.sources import source_for  # noqa: PLC0415

    source = source_for(reference, tracking_uri)
    try:
        with private_folder() as folder:
            return private_copy(source, source.resolve(reference), folder).digest
    except OSError as error:
        raise no_room(error) from error


def _write(population: Population, out: Path) -> None:
    from backdoor_gate.reports.files import write_bytes  # noqa: PLC0415
    from backdoor_gate.verdict.references import render  # noqa: PLC0415

    if population.references:
        write_bytes(out, render(population.references))


def _warn(text: str) -> None:
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    click.echo(f"warning: {terminal(text)}", err=True)


# ---------------------------------------------------------------------------------------------- after the scans


def _finish(references: References | None, policy: Policy, out: Path, codes: Sequence[int]) -> int:
    """Print what the references are good for; return the exit code."""
    from backdoor_gate.reports.text import terminal  # noqa: PLC0415

    if references is None:
        emit("no model could be measured, so nothing was written")
        return worst(codes)
    emit("\n".join(map(terminal, _summary(references, policy.judgement.false_block_rate, out))))
    return worst([*codes, ExitCode.BLOCKED if references.blocked else ExitCode.OK])


def _summary(references: References, rate: float, out: Path) -> list[str]:
    """Return what the references are good for."""
    from backdoor_gate.verdict.conformal import likely_bound, references_needed, share_bound  # noqa: PLC0415

    count, smallest = len(references.counted), references.smallest_rate
    excluded = len(references.models) - count
    head = f"{out}: {count} reference{'' if count == 1 else 's'}"
    lines = [f"{head}, and {excluded} that do not count" if excluded else head]
    lines += [f"  {line}" for line in _kinds(references)]
    bound = share_bound(references.blocked, count)
    lines.append(
        f"The shipped limits block {references.blocked} of them: with 95 % confidence at most {bound:.1%} of such"
    )
    lines.append(f"Smallest false-block rate that they support: {smallest:.4g}")
    if smallest <= rate:
        likely = likely_bound(count, rate)
        lines.append(
            f"The policy's {rate:g} is supported: on average over all such references, and with 95 % confidence at "
            f"most {likely:.3f} with these; put 'references: {out.name}' into the policy"
        )
    else:
        needed = references_needed(rate, references.blocked)
        lines.append(
            f"The policy's {rate:g} needs {needed} references ({needed - count} more): until then the shipped limits "
            "decide, and reports say 'calibrated: false'"
        )
    return lines


def _kinds(references: References) -> list[str]:
    """Return how many references there are of each kind."""
    from backdoor_gate.verdict.conformal import FEWEST_ALIKE  # noqa: PLC0415

    kinds = Counter((model.kind.classes, model.kind.shape) for model in references.counted)
    return [
        f"{number} with {classes} classes of {'×'.join(map(str, shape))} images"
        + (f": too few to judge others of that kind (at least {FEWEST_ALIKE})" if number < FEWEST_ALIKE else "")
        for (classes, shape), number in kinds.most_common()
    ]
