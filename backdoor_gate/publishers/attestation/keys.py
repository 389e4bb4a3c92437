"""Ed25519 keys as PEM text: read from a file or an environment variable, made once, never shown."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backdoor_gate.bounded_files import read_bounded
from backdoor_gate.errors import OutputError, UsageError

FROM_ENVIRONMENT = "env:"
"""Prefix of a key's place that is the name of an environment variable."""
MAX_PEM = 4096
"""Bytes of a key file; PEM of an ed25519 key has some 120."""
_MAKE_ONE = "make a pair with 'backdoor-gate key new'"
_KEY_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a signature is checked with.

    Attributes:
        id: hex SHA-256 of the key's SubjectPublicKeyInfo in DER form.
        origin: where it was read.
    """

    id: str
    origin: str
    _key: Ed25519PublicKey = field(repr=False)

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature over the message was made with the private half of this key."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """Return the key as a PEM file holds it."""
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(encoding, form)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What statements are signed with. Its secret half is in no representation and in no message."""

    public: PublicKey
    _key: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self._key.sign(message)


def is_key_id(text: str) -> bool:
    """Whether a text has the form of `PublicKey.id`."""
    return _KEY_ID.fullmatch(text) is not None


def load_private(place: str) -> SigningKey:
    """Read a private key.

    Args:
        place: a path, or `env:NAME` for an environment variable that holds the PEM text itself.

    Raises:
        UsageError: there is none, or it is no unencrypted ed25519 key.
    """
    from_file = not place.startswith(FROM_ENVIRONMENT)
    content = read_bounded(Path(place), MAX_PEM, hint=_MAKE_ONE) if from_file else _variable(place)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except Exception:  # what the library says may quote what it read
        raise _no_key(place, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(place, "private")
    return SigningKey(_public(key.public_key(), place), key)


def load_public(path: Path) -> PublicKey:
    """Read a public key from a PEM file.

    Raises:
        UsageError: there is none, or it is no ed25519 key.
    """
    content = read_bounded(path, MAX_PEM, hint=_MAKE_ONE)
    try:
        key = serialization.load_pem_public_key(content)
    except Exception as error:
        raise _no_key(str(path), "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(str(path), "public")
    return _public(key, str(path))


def create(path: Path) -> SigningKey:
    """Make a key and write its private half, readable by the owner only; nothing is ever overwritten.

    Raises:
        FileExistsError: there is something at the path.
        OutputError: it could not be written.
    """
    key = Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_new(path, key.private_bytes(*form), 0o600)
    return SigningKey(_public(key.public_key(), str(path)), key)


def create_pair(path: Path) -> tuple[SigningKey, Path]:
    """Make a key, write its private half to `path` and its public half beside it with the ending `.pub`.

    Raises:
        FileExistsError: one of the two is there already; its name is in `filename`.
        OutputError: one could not be written; then neither is left.
    """
    beside = path.with_suffix(".pub")
    for place in (path, beside):
        if os.path.lexists(place):
            raise FileExistsError(0, "exists", str(place))
    key = create(path)
    try:
        _write_new(beside, key.public.pem(), 0o644)
    except BaseException:
        path.unlink()
        raise
    return key, beside


def user_key_path() -> Path:
    """Return where this user's own key is, or will be: below `XDG_DATA_HOME`, else `~/.local/share`.

    Raises:
        UsageError: the user has no home folder.
    """
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise UsageError("no home folder to keep a signing key in", hint="name signing.key in the policy") from error
    return Path(base) / "backdoor-gate" / "gate.key"


def user_key() -> SigningKey:
    """Return this user's own key, made on first use.

    Raises:
        UsageError: what is there is no key.
        OutputError: it could not be written.
    """
    path = user_key_path()
    try:
        return create(path)
    except FileExistsError:
        return load_private(str(path))
    except OutputError as error:  # the user named no place that could be another one
        hint = "name signing.key in the policy, or set XDG_DATA_HOME"
        raise OutputError(error.what, where=error.where, hint=hint) from error


def _public(key: Ed25519PublicKey, origin: str) -> PublicKey:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(der).hexdigest(), origin, key)


def _variable(place: str) -> bytes:
    name = place.removeprefix(FROM_ENVIRONMENT)
    value = os.environ.get(name, "")
    if not value.strip():
        hint = "set it to the content of the key file, or scan with --no-publish"
        raise UsageError("the environment variable is not set", where=place, hint=hint)
    return value.encode("utf-8", "surrogateescape")


def _no_key(place: str, half: str) -> UsageError:
    return UsageError(f"not an unencrypted ed25519 {half} key in PEM form", where=place, hint=_MAKE_ONE)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all, with its mode from the first moment."""
    temporary = path.parent / f".backdoor-gate-{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _unwritten(path, error) from error
    try:
        os.link(temporary, path)  # unlike a rename, this never replaces a file
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot be written: {error.strerror}", where=str(path), hint="name another place")
