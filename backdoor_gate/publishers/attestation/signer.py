"""Turns a finished audit into its signed statement, for the registry and for a file alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backdoor_gate.errors import OutputError
from backdoor_gate.publishers.attestation.dsse import MAX_BYTES, seal
from backdoor_gate.publishers.attestation.statement import encode

if TYPE_CHECKING:
    from backdoor_gate.publishers.attestation.keys import SigningKey
    from backdoor_gate.records import AuditReport


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs audits with one key."""

    key: SigningKey

    def __call__(self, report: AuditReport) -> str | None:
        """Return the envelope, the same for the same report; None where no bytes were had to speak of.

        Raises:
            OutputError: it is too long for a tag.
        """
        payload = encode(report)
        envelope = payload and seal(payload, self.key)
        if not envelope:
            return None
        if len(envelope) > MAX_BYTES:
            what = f"the signed statement has {len(envelope)} bytes, and a tag holds {MAX_BYTES}"
            raise OutputError(what, where=report.requested, hint="give the model a shorter name")
        return envelope
