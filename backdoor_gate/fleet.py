"""The values of a re-scan, all frozen: the versions of a registry, why each is due, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from backdoor_gate.records import PolicyRef, Verdict


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version of a registered model, and the names by which a deployment may find it."""

    name: str
    version: str
    aliases: tuple[str, ...] = ()
    stage: str | None = None
    """The stage of MLflow's older kind, where it is one that deployments load from: Staging or Production."""

    @property
    def uri(self) -> str:
        """The reference by number."""
        return f"models:/{self.name}/{self.version}"

    @property
    def used_as(self) -> tuple[str, ...]:
        """Names by which it is in use; empty where it is not."""
        return (*(f"@{alias}" for alias in self.aliases), *([self.stage] if self.stage else []))


class Due(StrEnum):
    """Why a version needs a scan. In the order of the checks: the first that applies is told."""

    NO_VERDICT = "no_verdict"
    UNFINISHED = "unfinished"
    """A scan began and did not end, or is at work."""
    UNPROVEN = "unproven"
    """There is a verdict, but no statement about this version that a trusted key signed, or the tag contradicts it."""
    POLICY = "policy"
    """Another file, or another entry of it."""
    REFERENCES = "references"
    DETECTOR_PACK = "detector_pack"
    ARCHITECTURE = "architecture"
    DATA = "data"
    EXPIRED = "expired"
    STALE = "stale"
    """Older than the run allows, though not expired."""
    INCONCLUSIVE = "inconclusive"
    """The last scan came to no verdict; this one may."""
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one version is due: the kind, and in words."""

    due: Due
    words: str


class Action(StrEnum):
    """What was done with a version."""

    KEPT = "kept"
    """Its verdict stands; nothing was scanned."""
    SCANNED = "scanned"
    LISTED = "listed"
    """It is due, and the run was to scan nothing."""
    FAILED = "failed"
    """It could not be reviewed or scanned, and has the tags that it had, or is pending."""


@dataclass(frozen=True, slots=True)
class VersionVerdict:
    """What is known of the verdict of a version.

    Attributes:
        verdict: one of the four.
        reasons: the decisive one first.
        suspect_classes: of a scan of this run; a kept verdict's are in its report.
        digest: of the bytes; None where none could be had.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    scan_id: str
    scanned_at: datetime
    expires_at: datetime
    digest: str | None
    suspect_classes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionResult:
    """What became of one version.

    Attributes:
        exit_code: as of a scan; zero where one is due and was not to be made.
        reason: why it was due; None where it was not, or where that could not be found out.
        finding: None where nothing was judged.
        faults: what went wrong besides, such as tags that could not be written; what failed, where `action` is FAILED.
        counts: whether its exit code is part of the run's.
        seconds: wall time spent on it.
    """

    version: RegisteredVersion
    action: Action
    exit_code: int
    reason: Reason | None = None
    finding: VersionVerdict | None = None
    faults: tuple[str, ...] = ()
    counts: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RescanReport:
    """Everything about one run over a registry.

    Attributes:
        started_at: with a zone.
        seconds: wall time.
        registry: its URI without credentials.
        dry_run: whether it was only to list what is due.
        stale_after: seconds after which a verdict was due for a new scan; None for its expiry alone.
        results: of every version that the policy covers, in the order they were looked at, at least one.
        uncovered: names of registered models for which the policy has no entry.
        exit_code: of the run.
    """

    started_at: datetime
    seconds: float
    registry: str
    policy: PolicyRef
    detector_pack: str
    tool_version: str
    dry_run: bool
    stale_after: float | None
    results: tuple[VersionResult, ...]
    uncovered: tuple[str, ...]
    exit_code: int
