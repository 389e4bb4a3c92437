"""The statement: in-toto Statement v1 with a SLSA Verification Summary, and in it all that a promotion asks for.

Its subjects are the candidate's bytes, the code that builds the network and the clean data: weights that passed under
other code, or against other data, are not that model. Of a registered version it also says which entry of the registry
that is, since a name and a number can be given a second time.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backdoor_gate.candidate_facts import Registration
from backdoor_gate.errors import NotVerifiedError
from backdoor_gate.records import Status, Verdict

if TYPE_CHECKING:
    from backdoor_gate.candidate_facts import Candidate
    from backdoor_gate.records import AuditReport, Coverage

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER = "pkg:generic/backdoor-gate"
"""Who this gate says it is, as a package URL."""
EXTENSION = "backdoorgate_scan"
"""Name of the predicate's extension, in the form that SLSA asks for: vendor, underscore, name."""
MODEL, ARCHITECTURE, DATA = "model", "architecture", "data"
"""Names of the subjects."""
_TEXT_LIMIT = 40
_POLICY_NAME_LIMIT = 100
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement says, as far as a promotion asks. Digests are `sha256:<hex>`, times have a zone."""

    verifier: str
    resource: str
    """The model reference that was judged, resolved: `models:/digits/3`."""
    result: str
    """`PASSED` or `FAILED`."""
    verdict: str
    scan_id: str
    scanned_at: datetime
    expires_at: datetime
    policy_digest: str
    detector_pack: str
    digest: str
    architecture_digest: str | None
    data_digest: str | None
    entry_digest: str | None
    """Of the policy's entry that judged; None in statements of gates that did not say yet."""
    references_digest: str | None
    registered: Registration | None
    """None for what is in no registry, and in statements of gates that did not say yet."""


def encode(report: AuditReport) -> bytes | None:
    """Return the statement of a finished audit as compact JSON; None where no bytes were had to speak of."""
    if report.candidate is None:
        return None
    subjects = {MODEL: report.candidate.digest, ARCHITECTURE: report.architecture_digest, DATA: report.data_digest}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": _digest(digest)} for name, digest in subjects.items() if digest],
        "predicateType": PREDICATE_TYPE,
        "predicate": _predicate(report, report.candidate),
    }
    text = json.dumps(statement, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def decode(payload: bytes) -> Statement:
    """Read a statement whose signature was found good.

    Raises:
        NotVerifiedError: the key also signs other things, and this is one of them.
    """
    try:
        return _decoded(json.loads(payload))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "what was signed is not a verification summary of this gate"
        raise NotVerifiedError(what, hint="use the key for the gate alone, and scan again") from error


def precise(moment: datetime) -> str:
    """Return a moment as a registry counts it: in UTC, to the millisecond."""
    return _time(moment, "milliseconds")


def coverage_digest(coverage: Coverage) -> str:
    """Return the hex SHA-256 of what was and was not tested: of the report's `coverage` as compact, sorted JSON."""
    content = {"tested": coverage.tested, "not_tested": coverage.not_tested}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _predicate(report: AuditReport, candidate: Candidate) -> dict[str, Any]:
    passed = report.decision.verdict is Verdict.PASS
    runtime = report.scan.runtime if report.scan else None
    measured = [result.name for result in report.decision.detectors if result.status is Status.MEASURED]
    versions = {"backdoor-gate": report.tool_version} | ({"torch": _short(runtime.torch)} if runtime else {})
    return {
        "verifier": {"id": VERIFIER, "version": versions},
        "timeVerified": _time(report.scanned_at),
        "resourceUri": candidate.uri,
        "policy": {"uri": _policy_uri(report.policy.path), "digest": _digest(report.policy.digest)},
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": ["BACKDOOR_GATE_PASS" if passed else "FAILED"],
        EXTENSION: {
            "scanId": report.scan_id,
            "verdict": report.decision.verdict.value,
            "expires": _time(report.expires_at),
            **({"entry": _digest(report.entry_digest)} if report.entry_digest else {}),
            "detectorPack": report.detector_pack,
            "measured": measured,
            "coverage": {"sha256": coverage_digest(report.coverage)},
            "calibrated": report.decision.calibrated,
            **({"references": _digest(report.references_digest)} if report.references_digest else {}),
            "falseBlockRate": report.false_block_rate,
            "isolation": _short(runtime.isolation) if runtime else None,
            "seed": runtime.seed if runtime else None,
            **({"registered": _registered(candidate.registered)} if candidate.registered else {}),
        },
    }


def _decoded(document: dict[str, Any]) -> Statement:
    predicate = document["predicate"]
    if (document["_type"], document["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ValueError("another type")
    subjects = {subject["name"]: _from_digest(subject["digest"]) for subject in document["subject"]}
    scan = predicate[EXTENSION]
    return Statement(
        verifier=_string(predicate["verifier"]["id"]),
        resource=_string(predicate["resourceUri"]),
        result=_string(predicate["verificationResult"]),
        verdict=_string(scan["verdict"]),
        scan_id=_string(scan["scanId"]),
        scanned_at=_moment(predicate["timeVerified"]),
        expires_at=_moment(scan["expires"]),
        policy_digest=_from_digest(predicate["policy"]["digest"]),
        detector_pack=_string(scan["detectorPack"]),
        digest=subjects[MODEL],
        architecture_digest=subjects.get(ARCHITECTURE),
        data_digest=subjects.get(DATA),
        entry_digest=_from_digest(scan["entry"]) if "entry" in scan else None,
        references_digest=_from_digest(scan["references"]) if "references" in scan else None,
        registered=_from_registered(scan["registered"]) if "registered" in scan else None,
    )


def _digest(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _from_digest(digest: dict[str, str]) -> str:
    if not _DIGEST.fullmatch(digest["sha256"]):
        raise ValueError("not a digest")
    return f"sha256:{digest['sha256']}"


def _registered(entry: Registration) -> dict[str, Any]:
    return {"created": precise(entry.created), "source": _digest(entry.source)}


def _from_registered(entry: dict[str, Any]) -> Registration:
    return Registration(_moment(entry["created"]), _from_digest(entry["source"]))


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _time(moment: datetime, spec: str = "seconds") -> str:
    return moment.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _short(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isprintable())[:_TEXT_LIMIT]


def _policy_uri(path: str) -> str:
    return quote(PurePath(path).name.encode("utf-8", "surrogateescape")[:_POLICY_NAME_LIMIT])
