"""The verdict as tags on a registered version: `pending` first, results next, the verdict last and read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backdoor_gate import __version__
from backdoor_gate.errors import OutputError
from backdoor_gate.mlflow_client import GATE_SAYS, Connection, conversation
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.records import AuditReport

PREFIX = "backdoor_gate."
"""Of every tag that the gate writes, and may overwrite."""
VERDICT = f"{PREFIX}verdict"
STATEMENT = f"{PREFIX}statement"
"""The signed statement: written before the verdict, so that a crash leaves the one or none, never a verdict alone."""
MAX_VALUE = 5_000
"""Characters of a tag value; the smallest limit among MLflow's stores."""


@dataclass(slots=True)
class MlflowPublisher(Connection):
    """Tags on versions of an MLflow registry. Needs the right to set them; deletes old ones where it may.

    Attributes:
        report: where the full report can be read, such as the URL of the pipeline run; None leaves the tag out.
        sign: returns the signed statement of an audit, or None where there is nothing to sign; None leaves the tag out.
    """

    report: str | None = None
    sign: Callable[[AuditReport], str | None] | None = None

    def begin(self, reference: Reference, scan_id: str) -> None:
        """Set the verdict to pending, then remove what an older scan wrote; a gated store keeps its statement.

        Raises:
            OutputError: not a registered version, or the registry refused or could not be reached.
        """
        with conversation(reference.uri, OutputError):
            self._set(reference, VERDICT, _pending(scan_id))
            for key in self._tags(reference).keys() - {VERDICT}:
                self._clear(reference, key)
            self._check_ours(reference, scan_id)

    def finish(self, reference: Reference, report: AuditReport) -> None:
        """Write the results, then the verdict, and read all back; on any fault the verdict stays or becomes pending.

        Raises:
            OutputError: the statement is too long, a tag could not be written, another scan has taken over, or the
                read-back differs.
        """
        tags = {key: one_line(value, MAX_VALUE) for key, value in result_tags(report, self.report).items()}
        if statement := self.sign and self.sign(report):
            tags[STATEMENT] = statement
        with conversation(reference.uri, OutputError):
            self._check_ours(reference, report.scan_id)
            for key, value in tags.items():
                self._set(reference, key, value)
            self._check_ours(reference, report.scan_id)
            tags[VERDICT] = report.decision.verdict.value
            self._set(reference, VERDICT, tags[VERDICT])
            found = self._tags(reference)
            if any(found.get(key) != value for key, value in tags.items()):
                if found.get(VERDICT) == tags[VERDICT]:
                    self._set(reference, VERDICT, _pending(report.scan_id))
                raise OutputError("tags read back differ from those written", where=reference.uri, hint="scan it again")

    def _check_ours(self, reference: Reference, scan_id: str) -> None:
        verdict = self._tags(reference).get(VERDICT)
        if verdict != _pending(scan_id):
            other = f"another scan ({one_line(str(verdict), 80)}) has taken over"
            raise OutputError(other, where=reference.uri, hint="run one gate per version at a time")

    def _writing_to(self, reference: Reference) -> Any:
        if reference.version is None:
            raise OutputError("nothing to publish to: not a registered version", where=reference.uri)
        return self.client()

    def _set(self, reference: Reference, key: str, value: str) -> None:
        self._writing_to(reference).set_model_version_tag(reference.name, reference.version, key, value)

    def _clear(self, reference: Reference, key: str) -> None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            self._writing_to(reference).delete_model_version_tag(reference.name, reference.version, key)
        except MlflowException:  # an account may set tags without being allowed to delete them
            self._blank(reference, key)

    def _blank(self, reference: Reference, key: str) -> None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            self._set(reference, key, "")
        except MlflowException as error:
            # A gated store keeps a statement until a newer one is there, and meanwhile the verdict says pending.
            if key != STATEMENT or GATE_SAYS not in str(error):
                raise

    def _tags(self, reference: Reference) -> dict[str, str]:
        """Return the gate's tags of the version; those blanked by `_clear` count as absent."""
        found = self._writing_to(reference).get_model_version(reference.name, reference.version)
        return {key: value for key, value in found.tags.items() if key.startswith(PREFIX) and value}


def result_tags(report: AuditReport, location: str | None) -> dict[str, str]:
    """Return every tag of a finished audit but the verdict, by full name.

    Args:
        report: the audit.
        location: of the full report; None leaves the tag out.
    """
    tags = {
        "policy": report.policy.digest,
        "scan_id": report.scan_id,
        "scanned_at": report.scanned_at.isoformat(timespec="seconds"),
        "expires_at": report.expires_at.isoformat(timespec="seconds"),
        "detector_pack": report.detector_pack,
        "tool_version": report.tool_version or __version__,
        "suspect_classes": ",".join(str(index) for index in report.decision.suspect_classes) or "none",
    }
    if report.candidate is not None:
        tags["digest"] = report.candidate.digest
    for result in report.decision.detectors:
        if result.anomaly_index is not None:
            tags[f"anomaly_index.{result.name}"] = f"{result.anomaly_index:.6g}"
    if location:
        tags["report"] = location
    return {f"{PREFIX}{key}": value for key, value in tags.items()}


def _pending(scan_id: str) -> str:
    return f"pending:{scan_id}"
