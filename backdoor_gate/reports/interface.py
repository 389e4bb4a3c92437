"""A report format: a pure function from the audit's record to text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport


class Renderer(Protocol):
    """Renders an audit in one format."""

    def __call__(self, report: AuditReport) -> str:
        """Return the whole document; every untrusted string in it has passed `reports.text`."""
        ...
