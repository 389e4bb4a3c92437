"""Walks a registry and scans every version that is due, those in use first; what fails for one stops no other."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backdoor_gate import __version__
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import ExitCode, GateError, UsageError, worst
from backdoor_gate.fleet import Action, RescanReport, VersionResult, VersionVerdict
from backdoor_gate.mlflow_client import redacted, tracking_uri
from backdoor_gate.orders import no_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backdoor_gate.audit import Audited
    from backdoor_gate.fleet import Reason, RegisteredVersion
    from backdoor_gate.lifecycle.due import Reviewer
    from backdoor_gate.lifecycle.registry import Registry
    from backdoor_gate.policy import Policy

    ScanVersion = Callable[[RegisteredVersion, Reason], Audited]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a policy covers of a registry.

    Attributes:
        versions: in the order in which they are looked at, at least one.
        counting: those whose exit codes are the run's: of each model the versions in use, else its newest.
        uncovered: names of models for which the policy has no entry.
    """

    versions: tuple[RegisteredVersion, ...]
    counting: frozenset[RegisteredVersion]
    uncovered: tuple[str, ...]


def survey(registry: Registry, policy: Policy) -> Fleet:
    """List the versions that a policy covers: those in use first, by name, the newest of a model first.

    Raises:
        UsageError: there is none; green over nothing would be taken for a watch that is kept.
        RegistryReadError: the registry could not be read.
    """
    names = registry.names()
    covered = [name for name in names if policy.covers(name)]
    models = [registry.versions(name) for name in covered]
    versions = sorted(
        (version for model in models for version in model),
        key=lambda version: (not version.used_as, version.name, -int(version.version)),
    )
    if not versions:
        what = f"none of {len(names)} registered models has a version that the policy covers"
        raise UsageError(what, where=policy.ref.path, hint="check the tracking URI, and the names under 'models'")
    counting = frozenset(version for model in models for version in _counting(model))
    return Fleet(tuple(versions), counting, tuple(name for name in names if name not in set(covered)))


def _counting(model: tuple[RegisteredVersion, ...]) -> Iterable[RegisteredVersion]:
    """Return the versions of a model that are in use; where none is named so, the newest stands for them."""
    used = [version for version in model if version.used_as]
    return used or sorted(model, key=lambda version: int(version.version))[-1:]


def rescan(
    fleet: Fleet,
    reviewer: Reviewer,
    scan: ScanVersion | None,
    *,
    fetch_all: bool = True,
    on_result: Callable[[VersionResult], None] = lambda _: None,
) -> RescanReport:
    """Review every version, and scan those that are due.

    Args:
        fleet: from `survey`.
        reviewer: says which are due.
        scan: audits one version and publishes its verdict; None only lists what is due.
        fetch_all: whether to compare the bytes of every version, not only of those that count.
        on_result: called with each result.
    """
    started_at, started, results = datetime.now(UTC), time.monotonic(), []
    for version in fleet.versions:
        begun, counts = time.monotonic(), version in fleet.counting
        result = _result(version, reviewer, scan, fetch=fetch_all or counts)
        results.append(replace(result, counts=counts, seconds=time.monotonic() - begun))
        on_result(results[-1])
    return RescanReport(
        started_at=started_at,
        seconds=time.monotonic() - started,
        registry=redacted(tracking_uri(reviewer.registry.tracking_uri)),
        policy=reviewer.policy.ref,
        detector_pack=PACK_VERSION,
        tool_version=__version__,
        dry_run=scan is None,
        stale_after=reviewer.stale_after,
        results=tuple(results),
        uncovered=fleet.uncovered,
        exit_code=_exit_code(results, judged=scan is not None),
    )


def _exit_code(results: list[VersionResult], *, judged: bool) -> int:
    """Return the worst code of the versions that count; where nothing was to be judged, only of what failed."""
    codes = [result.exit_code for result in results if result.counts and (judged or result.action is Action.FAILED)]
    return worst(codes or [ExitCode.OK])


def _result(version: RegisteredVersion, reviewer: Reviewer, scan: ScanVersion | None, *, fetch: bool) -> VersionResult:
    """Review one version, scan it where it is due, and turn whatever goes wrong into its result."""
    reason: Reason | None = None

    def failed(what: str, code: int) -> VersionResult:
        return VersionResult(version, Action.FAILED, code, reason, faults=(what,))

    try:
        found = reviewer.review(reviewer.source.resolve(version.uri), fetch=fetch)
        if isinstance(found, VersionVerdict):
            return VersionResult(version, Action.KEPT, found.verdict.exit_code, finding=found)
        reason = found
        if scan is None:
            return VersionResult(version, Action.LISTED, 0, reason)
        return _scanned(version, reason, scan(version, reason))
    except GateError as error:
        return failed(str(error), error.exit_code)
    except OSError as error:
        return failed(str(no_room(error)), no_room(error).exit_code)
    except Exception as error:
        return failed(f"internal error: {type(error).__name__}: {error}; scan it alone to see where", ExitCode.INTERNAL)


def _scanned(version: RegisteredVersion, reason: Reason, outcome: Audited) -> VersionResult:
    report = outcome.report
    finding = VersionVerdict(
        verdict=report.decision.verdict,
        reasons=report.decision.reasons,
        scan_id=report.scan_id,
        scanned_at=report.scanned_at,
        expires_at=report.expires_at,
        digest=report.candidate.digest if report.candidate else None,
        suspect_classes=report.decision.suspect_classes,
    )
    faults = tuple(str(fault) for fault in outcome.faults)
    return VersionResult(version, Action.SCANNED, outcome.exit_code, reason, finding, faults)
