"""What a signed statement must say before anyone believes a verdict; shared by `verify`, `promote` and the server."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backdoor_gate.errors import NotVerifiedError
from backdoor_gate.publishers.attestation.dsse import unseal
from backdoor_gate.publishers.attestation.statement import VERIFIER, Statement, decode, precise
from backdoor_gate.records import Verdict
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backdoor_gate.candidate_facts import Registration
    from backdoor_gate.publishers.attestation.keys import PublicKey

_SCAN = "scan it with 'backdoor-gate scan'"
_AGAIN = "scan it again"
_CLOCK_SKEW = timedelta(minutes=5)
"""By how much the clocks of two machines may differ."""


def check_verdict_tag(verdict: str | None) -> None:
    """Check the tag that says how far a scan is.

    Raises:
        NotVerifiedError: there is none, or a scan is or was at work.
    """
    if not verdict:
        raise NotVerifiedError("no verdict: it was never scanned, or its tags were removed", hint=_SCAN)
    if verdict.startswith("pending:"):
        scan_id = one_line(verdict.removeprefix("pending:"), 40, ascii_only=True)
        raise NotVerifiedError(f"pending: scan {scan_id} has not finished", hint="wait for it, or scan again")


def opened(envelope: str | None, trusted: Sequence[PublicKey]) -> tuple[Statement, PublicKey]:
    """Return what a trusted key signed, and that key.

    Raises:
        NotVerifiedError: there is no statement, no trusted key, or the one is not signed by the other.
    """
    if not envelope:
        raise NotVerifiedError("no signed statement; the verdict tag alone proves nothing", hint=_SCAN)
    if not trusted:
        hint = "name signing.trusted in the policy, or verify where the scan ran"
        raise NotVerifiedError("no trusted key to check the statement with", hint=hint)
    payload, key = unseal(envelope, trusted)
    return decode(payload), key


def check_origin(statement: Statement, resource: str | None) -> None:
    """Check who made the statement and which model it is about.

    Args:
        statement: whose signature was found good.
        resource: the model that is asked about; None where its name says nothing, as a local path's.

    Raises:
        NotVerifiedError: it was made by something else, or about something else.
    """
    if statement.verifier != VERIFIER:
        raise NotVerifiedError(f"the statement was made by another verifier: {statement.verifier!a:.80}", hint=_AGAIN)
    if resource is not None and statement.resource != resource:
        what = f"the statement is about {one_line(statement.resource, 120, ascii_only=True)}, not about this version"
        raise NotVerifiedError(what, hint="tags are copied with a version; scan this one")


def check_registration(statement: Statement, now: Registration | None) -> None:
    """Check that a registered version is the entry that was scanned: names and numbers are given anew, and swapped.

    Args:
        statement: whose signature was found good.
        now: which entry the version is; None where the registry does not say.

    Raises:
        NotVerifiedError: it is another, or the statement or the registry does not say.
    """
    signed = statement.registered
    if now is None:
        hint = "verify against a registry that keeps creation times"
        raise NotVerifiedError("the registry does not say when this version was registered", hint=hint)
    if signed is None:
        what = "the statement does not say when its version was registered: an older gate made it"
        raise NotVerifiedError(what, hint=_AGAIN)
    hint = "its name and number were another's; scan this one"
    if signed.created != now.created:
        what = f"the statement is about a version registered at {precise(signed.created)}, and this one was registered"
        raise NotVerifiedError(f"{what} at {precise(now.created)}", hint=hint)
    if signed.source != now.source:
        raise NotVerifiedError("the statement is about a version of another source", hint=hint)


def check_not_ahead(statement: Statement, now: datetime) -> None:
    """Check that the statement is not of the future.

    Args:
        statement: whose signature was found good.
        now: with a zone.

    Raises:
        NotVerifiedError: it is.
    """
    if statement.scanned_at > now + _CLOCK_SKEW:
        what = f"dated in the future ({statement.scanned_at.isoformat()})"
        raise NotVerifiedError(what, hint="set the clock of this machine, or scan it again")


def check_dates(statement: Statement, now: datetime) -> None:
    """Check that the statement already and still holds.

    Args:
        statement: whose signature was found good.
        now: with a zone.

    Raises:
        NotVerifiedError: it is of the future or the past.
    """
    check_not_ahead(statement, now)
    if statement.expires_at <= now:
        raise NotVerifiedError(f"expired on {statement.expires_at.isoformat()}", hint=_AGAIN)


def check_tag_agrees(statement: Statement, verdict: str | None) -> None:
    """Check that the verdict tag says what was signed.

    Args:
        statement: whose signature was found good.
        verdict: the verdict tag beside it; None where there are no tags.

    Raises:
        NotVerifiedError: it says something else.
    """
    if verdict is not None and verdict != statement.verdict:
        what = (
            f"the verdict tag says {one_line(verdict, 40, ascii_only=True)}, the signed statement {statement.verdict}"
        )
        raise NotVerifiedError(what, hint=_AGAIN)


def check_current(statement: Statement, verdict: str | None, now: datetime) -> None:
    """Check that the statement still holds, and that it says PASS.

    Args:
        statement: whose signature was found good.
        verdict: the verdict tag beside it; None where there are no tags.
        now: with a zone.

    Raises:
        NotVerifiedError: it is of the future or the past, or the result is another.
    """
    check_dates(statement, now)
    if statement.result != "PASSED" or statement.verdict != Verdict.PASS:
        what = f"the result is {one_line(statement.verdict, 40, ascii_only=True)}, not PASS"
        raise NotVerifiedError(what, hint="read in that scan's report why")
    check_tag_agrees(statement, verdict)
