"""Where verdicts are written back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.records import AuditReport


class Publisher(Protocol):
    """One place that keeps a verdict beside the model: `pending` first, the final value last."""

    def begin(self, reference: Reference, scan_id: str) -> None:
        """Mark the version as being scanned, so that a crash can never leave an older verdict standing.

        Raises:
            OutputError: the registry refused or could not be reached.
        """
        ...

    def finish(self, reference: Reference, report: AuditReport) -> None:
        """Write the report's tags, the verdict last.

        Raises:
            OutputError: a tag could not be written, another scan has taken over, or the read-back differs.
        """
        ...
