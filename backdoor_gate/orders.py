"""What the worker is ordered to do: the candidate, the code and the clean data of a request, brought together here."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.errors import UnmeasuredError, UsageError
from backdoor_gate.records import Architecture, Job
from backdoor_gate.sources import is_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.candidate_facts import Candidate, Reference
    from backdoor_gate.policy import ModelPlan, Policy
    from backdoor_gate.sources.interface import Source


@dataclass(frozen=True, slots=True)
class Request:
    """One model to audit, and how.

    Attributes:
        reference: MODEL as the user gave it.
        policy: the policy that judges.
        data: clean images given on the command line; they override the policy's.
        budget: wall seconds for the worker; None for the policy's `limits.time`.
        device: `auto`, `cpu` or `cuda`.
        seed: of probes, splits and trigger starts.
    """

    reference: str
    policy: Policy
    data: str | None = None
    budget: float | None = None
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Given:
    """What the pipeline itself brings to the scan: trusted, and checked before the candidate is touched."""

    plan: ModelPlan
    architecture: Architecture | None
    data: Path | None


def given_for(request: Request, source: Source, reference: Reference, folder: Path) -> Given:
    """Find the architecture's code and the clean data; artifacts are downloaded below `folder`.

    Raises:
        UsageError: the policy has no plan for the model, or its code or data is not there.
        RegistryReadError: the store of the clean data is unreachable.
    """
    plan = request.policy.plan_for(reference.name)
    named = "--data" if request.data else f"data.clean in {request.policy.place('data.clean', reference.name)}"
    data = local_data(request.data or plan.data, source, folder / "data", named=named)
    return Given(plan, _architecture(plan), data)


def job_for(request: Request, given: Given, candidate: Candidate) -> Job:
    """Return what the worker is told of a candidate."""
    limits = request.policy.limits
    return Job(
        candidate=candidate.path,
        formats=given.plan.formats,
        declared=given.plan.declared,
        signature=candidate.signature,
        architecture=given.architecture,
        data=given.data,
        max_images=given.plan.max_images,
        detectors=request.policy.detectors,
        device=request.device,
        seed=request.seed,
        limits=replace(limits, seconds=request.budget or limits.seconds),
        weights_in=candidate.weights_in,
    )


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for the gate's own copies, which goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="backdoor-gate-") as folder:
        yield Path(folder)


def private_copy(source: Source, reference: Reference, folder: Path) -> Candidate:
    """Fetch a candidate below `folder`; raises as `source.fetch` does."""
    return source.fetch(reference, new_folder(folder / "candidate"))


def no_room(error: OSError) -> UnmeasuredError:
    """Explain a failure of the local disk: the private copies could not be made."""
    return UnmeasuredError(
        f"the candidate could not be copied: {error.strerror or type(error).__name__}",
        where=tempfile.gettempdir(),
        hint="free some space, or point TMPDIR to a larger disk",
    )


def new_folder(path: Path) -> Path:
    """Make a folder and return it."""
    path.mkdir()
    return path


def _architecture(plan: ModelPlan) -> Architecture | None:
    """Return the trusted code that builds the network, with the digest of its source."""
    if plan.architecture is None:
        return None
    digest = code_digest(plan.architecture, plan.architecture_path)
    return Architecture(plan.architecture, plan.architecture_path, plan.architecture_kwargs, digest)


def local_data(
    reference: str | None, source: Source, destination: Path, *, named: str = "data.clean or --data"
) -> Path | None:
    """Return the clean data as a local file or folder, downloaded to `destination` where it is an artifact URI.

    Args:
        reference: path or artifact URI; None for no data.
        source: where artifacts are.
        destination: of a download.
        named: where the user gave the reference, for the message.

    Raises:
        UsageError: there is nothing at that place.
        RegistryReadError: the artifact store is unreachable.
    """
    if reference is None:
        return None
    if is_artifact(reference):
        return source.fetch_data(reference, new_folder(destination))
    path = Path(reference)
    if not path.exists():
        raise UsageError("no such file or folder", where=reference, hint=f"correct {named}")
    return path.resolve()
