"""Where a verdict comes from, as facts that every report for people lists alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from enum import Enum
from typing import TYPE_CHECKING

from backdoor_gate.reports.rows import subject

if TYPE_CHECKING:
    from datetime import datetime

    from backdoor_gate.records import AuditReport, DataFacts, Scan


class Kind(Enum):
    """How a sink must show a part of a fact."""

    CODE = "code"
    """Untrusted, to be shown letter by letter: a name, a path, a digest."""
    WORDS = "words"
    """Untrusted, in running text."""
    OURS = "ours"
    """Written by the gate from numbers and times: plain text without markup in any sink."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its title, and its parts as (kind, text), to be shown with a space between them."""

    title: str
    parts: tuple[tuple[Kind, str], ...]


def facts(report: AuditReport) -> tuple[Fact, ...]:
    """Return what identifies the model, the policy, the data, the code and the run; what is not known is left out."""
    digest = report.candidate.digest if report.candidate else None
    found = [
        Fact("Model", ((Kind.CODE, subject(report)),)),
        Fact("Asked for as", ((Kind.CODE, report.requested),)),
        _code("Digest", digest) or Fact("Digest", ((Kind.OURS, "unknown: the bytes could not be had"),)),
        Fact("Policy", ((Kind.CODE, report.policy.path), (Kind.CODE, report.policy.digest))),
        _code("Architecture", report.architecture_digest),
        _code("Clean data", report.data_digest),
        Fact("Detector pack", ((Kind.CODE, report.detector_pack),)),
        Fact("False-block rate", ((Kind.OURS, _rate(report)),)),
        _references(report),
        Fact("Scan", ((Kind.CODE, report.scan_id), (Kind.OURS, _when(report)))),
        Fact("Valid until", ((Kind.OURS, time(report.expires_at)),)),
        Fact("Tool", ((Kind.CODE, f"backdoor-gate {report.tool_version}"),)),
        *(_run(report.scan) if report.scan else ()),
    ]
    return tuple(fact for fact in found if fact)


def time(moment: datetime) -> str:
    """Return a time as people read it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _code(title: str, text: str | None) -> Fact | None:
    return Fact(title, ((Kind.CODE, text),)) if text else None


def _when(report: AuditReport) -> str:
    return f"at {time(report.scanned_at)}, {report.seconds:.1f} s"


def _rate(report: AuditReport) -> str:
    calibrated = "calibrated on references" if report.decision.calibrated else "not calibrated"
    return f"{report.false_block_rate:g} ({calibrated})"


def worth(report: AuditReport) -> str:
    """Return how far a verdict is to be trusted, and until when."""
    return f"False-block rate: {_rate(report)}; valid until {time(report.expires_at)}"


def _references(report: AuditReport) -> Fact | None:
    """Return where the model stands among the references, and what they are good for."""
    found = report.decision.calibration
    if found is None:
        return None
    if found.ours:
        chance = f"p = {found.p_value:.2g}, for information" if found.p_value is not None else ""
        return Fact("Clean networks of ours", ((Kind.OURS, f"{found.references}; this model among them: {chance}"),))
    stands = "" if found.p_value is None else f", p = {found.p_value:.2g} among them"
    excluded = f", {found.excluded} excluded" if found.excluded else ""
    counted = f"{found.references}{excluded}, {found.blocked} blocked by the shipped limits{stands}"
    bound = found.likely_bound
    use = found.note if bound is None else f"with 95 % confidence their own rate is at most {bound:.2g}"
    return Fact("References", ((Kind.CODE, found.digest), (Kind.OURS, f"{counted};"), (Kind.WORDS, use)))


def _run(scan: Scan) -> tuple[Fact, Fact]:
    ran = scan.runtime
    made_of = f" ({', '.join(ran.isolation_notes)})" if ran.isolation_notes else ""
    where = f"torch {ran.torch}, {ran.device}, isolation tier {ran.isolation}{made_of}, seed {ran.seed}"
    return (
        Fact("Measured with", ((Kind.WORDS, where),)),
        Fact("Images", ((Kind.WORDS, images(scan.data)),)),
    )


def images(data: DataFacts) -> str:
    """Return in words what was measured on."""
    right = "" if data.accuracy is None else f", {data.accuracy:.0%} of them right"
    return f"{data.images} {data.kind}{right}"
