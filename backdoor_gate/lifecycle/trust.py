"""Which key signs and which keys count: the policy's, else the one that this machine's user owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.errors import UsageError
from backdoor_gate.publishers.attestation import keys

if TYPE_CHECKING:
    from backdoor_gate.policy import Policy
    from backdoor_gate.publishers.attestation.keys import PublicKey, SigningKey


def signing_key(policy: Policy) -> SigningKey:
    """Return the key that signs; the user's own is made on first use.

    Raises:
        UsageError: the policy's key cannot be had, or the policy does not trust it.
        OutputError: the user's own could not be written.
    """
    place = policy.signing.key if policy.signing else None
    key = keys.load_private(place) if place else keys.user_key()
    if policy.signing and key.public.id not in {trusted.id for trusted in trusted_keys(policy)}:
        what = f"signing: the policy does not trust the key it would sign with ({key.public.origin})"
        raise UsageError(
            what,
            where=policy.place("signing.trusted"),
            hint="add its .pub file to signing.trusted, or scan --no-publish",
        )
    return key


def trusted_keys(policy: Policy) -> tuple[PublicKey, ...]:
    """Return the keys of which one must have signed a statement; none where nobody named or made any.

    Raises:
        UsageError: what should be a key is none.
    """
    if policy.signing:
        return tuple(keys.load_public(path) for path in policy.signing.trusted)
    own = keys.user_key_path()
    return (keys.load_private(str(own)).public,) if own.exists() else ()
