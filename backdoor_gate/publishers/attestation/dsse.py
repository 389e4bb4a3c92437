"""DSSE envelopes, version 1: the signature covers type and payload together, so neither can be read as another.

https://github.com/secure-systems-lab/dsse. One signature, one payload type, one way to write each envelope: a text that
differs from the canonical form in a single byte is no envelope.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from backdoor_gate.errors import NotVerifiedError
from backdoor_gate.publishers.attestation.keys import is_key_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.publishers.attestation.keys import PublicKey, SigningKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 5_000
"""Of an envelope: the smallest limit of a tag's value among MLflow's stores."""


def pre_authentication(payload: bytes) -> bytes:
    """Return what is signed: the specification's pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: SigningKey) -> str:
    """Return the signed envelope as one line of ASCII."""
    return _text(payload, key.public.id, key.sign(pre_authentication(payload)))


def unseal(envelope: str, trusted: Sequence[PublicKey]) -> tuple[bytes, PublicKey]:
    """Check an envelope and return its payload and the key that signed it.

    Args:
        envelope: text of any origin.
        trusted: keys, of which one must have signed it.

    Raises:
        NotVerifiedError: not an envelope, signed by another key, or its content is not what was signed.
    """
    try:
        payload, key_id, signature = _parts(envelope)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotVerifiedError("the statement is not a signed envelope", hint="scan it again") from error
    for key in trusted:
        if key.id == key_id:
            if not key.accepts(signature, pre_authentication(payload)):
                raise NotVerifiedError("the signature does not fit the statement: one of them was altered")
            return payload, key
    what = f"signed by an untrusted key ({key_id})"
    raise NotVerifiedError(what, hint="scan it again with a trusted key, or add its .pub file to signing.trusted")


def _text(payload: bytes, key_id: str, signature: bytes) -> str:
    signatures = [{"keyid": key_id, "sig": _encoded(signature)}]
    envelope = {"payload": _encoded(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    return json.dumps(envelope, separators=(",", ":"))


def _parts(envelope: str) -> tuple[bytes, str, bytes]:
    if len(envelope) > MAX_BYTES:
        raise ValueError("too long")
    found = json.loads(envelope)
    (signature,) = found["signatures"]
    parts = _decoded(found["payload"]), str(signature["keyid"]), _decoded(signature["sig"])
    # Other spellings of the same content (spaces, duplicate or further keys, spare bits in base64) end here.
    if not is_key_id(parts[1]) or _text(*parts) != envelope:
        raise ValueError("not in the canonical form")
    return parts


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
