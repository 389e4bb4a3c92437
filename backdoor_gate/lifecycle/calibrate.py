"""From known-good models to references: what a finished audit adds to a population, and what may be added at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from backdoor_gate.errors import UsageError
from backdoor_gate.records import Verdict
from backdoor_gate.verdict.calibration import values_of
from backdoor_gate.verdict.references import KnownModel, ModelKind, References, known_scores, settings_by_name
from backdoor_gate.verdict.scores import model_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from backdoor_gate.policy import Policy
    from backdoor_gate.records import AuditReport, Scan


@dataclass(slots=True)
class Population:
    """References that grow by one model at a time.

    Attributes:
        policy: that measures, without references of its own: they are judged by the shipped limits alone.
        references: what there is so far; None before the first.
        excluded: models that do not count, as asked for.
    """

    policy: Policy
    references: References | None
    excluded: Collection[str]

    def add(self, report: AuditReport) -> KnownModel | None:
        """Add the model of a finished audit; None where it could not be measured, and so is no reference.

        Raises:
            UsageError: it was measured on another kind of images than the others.
        """
        if report.scan is None or report.candidate is None:
            return None
        if report.decision.verdict not in {Verdict.PASS, Verdict.BLOCK}:
            return None
        references = self.references or self._empty(report.scan)
        if references.data != report.scan.data.kind:
            what = f"measured on {report.scan.data.kind} images, the others on {references.data} ones"
            raise UsageError(what, where=report.requested, hint="give clean images for all models, or for none")
        added = self._reference(report, report.scan, report.candidate.digest)
        self.references = references.model_copy(update={"models": (*references.models, added)})
        return added

    def known(self, digest: str) -> KnownModel | None:
        """Return the reference that has these bytes."""
        models = self.references.models if self.references else ()
        return next((model for model in models if model.digest == digest), None)

    def mark_excluded(self) -> None:
        """Leave the models out that were asked for by name and are there already."""
        self._exclude(lambda model: model.name in self.excluded)

    def exclude(self, digest: str) -> None:
        """Leave the model with these bytes out, whatever name it is there by."""
        self._exclude(lambda model: model.digest == digest)

    def _exclude(self, is_meant: Callable[[KnownModel], bool]) -> None:
        if self.references:
            models = tuple(
                model.model_copy(update={"excluded": True}) if is_meant(model) else model
                for model in self.references.models
            )
            self.references = self.references.model_copy(update={"models": models})

    def _empty(self, scan: Scan) -> References:
        kind: Literal["clean", "synthetic"] = "clean" if scan.data.kind == "clean" else "synthetic"
        return References(
            detectors=settings_by_name(self.policy.detectors),
            data=kind,
            false_block_rate=self.policy.judgement.false_block_rate,
        )

    def _reference(self, report: AuditReport, scan: Scan, digest: str) -> KnownModel:
        name = report.candidate.name if report.candidate else report.requested
        return KnownModel(
            name=report.requested.encode("ascii", "backslashreplace").decode()[:4096],
            digest=digest,
            kind=ModelKind(
                classes=scan.num_classes, shape=scan.input.shape, architecture=self.policy.plan_for(name).architecture
            ),
            blocked=report.decision.verdict is Verdict.BLOCK,
            excluded=report.requested in self.excluded,
            scores=known_scores(values_of(model_scores(scan.evidence))),
        )


def check_extensible(references: References, policy: Policy, path: Path) -> None:
    """Check that scores which a policy measures now belong to those that are there.

    Raises:
        UsageError: they were measured otherwise.
    """
    fault = references.unfit(policy.detectors)
    if fault is None and references.false_block_rate != policy.judgement.false_block_rate:
        fault = f"the references were judged at a false_block_rate of {references.false_block_rate:g}"
    if fault:
        raise UsageError(fault, where=str(path), hint="use the policy that they were measured with, or another --out")
