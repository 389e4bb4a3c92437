"""The one door to MLflow: short retries, no noise, no token to foreign hosts, and failures explained in one line.

Used by the source that reads the registry and the publisher that writes to it. MLflow is imported on first use only.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from backdoor_gate.candidate_facts import Registration
from backdoor_gate.errors import ExitCode, GateError, RegistryReadError, UsageError
from backdoor_gate.patience import patience
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's 7 keep a pipeline waiting for four minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server must not be able to put us to sleep
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",  # a redirect would carry the request to a host nobody named
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",  # its URLs come from the server, and its sizes too
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow refuses its older stores; reading them is harmless
}
"""MLflow's settings while we talk to it; whatever the user set stays."""

_LOGGERS = ("mlflow", "urllib3", "alembic", "sqlalchemy")
_HOSTED = ("databricks", "uc")
"""URIs without a scheme that name a hosted registry, not a folder."""
_SQLITE_MAGIC = b"SQLite format 3\x00"
_PROBE_SECONDS = (5.0, 10.0)
"""To connect and to get a first answer: an unreachable server is known within 15 s."""
_DENIED = re.compile(r"error code 40[13]\b|\b40[13] Client Error|PERMISSION_DENIED|UNAUTHENTICATED")
_DENIED_HINT = "check MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
GATE_SAYS = "backdoor-gate: "
"""How a gated registry store begins what it says to a client whose request it refuses."""
_USER = re.compile(r"(?<!/)//(?!/)(?:\S*|[^/@]*)@")
"""A user's name and password, up to the last @: SQLAlchemy takes a slash for a part of the password."""
_SECRET = re.compile(r"((?:password|passwd|token|secret)=)[^&\s]+", re.IGNORECASE)
_LONGEST_TEXT = 4096
"""Characters of a failure's text that are looked at: the server wrote them, and far fewer are shown."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_URI_HINT = "pass the tracking URI, or set MLFLOW_TRACKING_URI"


class NotFoundError(RegistryReadError):
    """The registry answered, and holds no such thing."""


def tracking_uri(given: str | None) -> str:
    """Return the URI to use: the given one, else MLflow's environment variable, else a store that exists here.

    Raises:
        UsageError: there is none; MLflow would create an empty store in the current folder.
    """
    if uri := (given or os.environ.get("MLFLOW_TRACKING_URI", "")).strip():
        return uri
    if Path("mlflow.db").is_file():
        return f"sqlite:///{Path('mlflow.db').absolute()}"
    raise UsageError("no MLflow tracking URI", hint=_NO_URI_HINT)


def redacted(uri: str) -> str:
    """Return a URI without the user name, the password and the token it may hold, in printable ASCII."""
    return one_line(_SECRET.sub(r"\1***", _USER.sub("//***@", uri)), None, ascii_only=True)


@contextmanager
def conversation(where: str, failure: type[GateError]) -> Iterator[None]:
    """Talk to MLflow inside this block: its settings hold, its noise does not, its exceptions become ours.

    Args:
        where: what is being talked about, for the message.
        failure: the error to raise; RegistryReadError while reading, OutputError while writing.

    Raises:
        NotFoundError: `failure` is RegistryReadError, and the registry has no such thing.
    """
    added = {key: value for key, value in _DEFAULTS.items() if key not in os.environ}
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            with patience(redacted(where)):
                yield
    except RegistryReadError as error:
        if issubclass(RegistryReadError, failure):
            raise
        raise failure(error.what, where=error.where or redacted(where), hint=error.hint) from error
    except GateError:
        raise
    except Exception as error:
        raise _explained(error, where, failure) from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for key in added:
            os.environ.pop(key, None)


def connect(uri: str, registry_uri: str | None) -> Any:
    """Return an MLflow client for an existing store; to be called inside a `conversation`.

    Args:
        uri: of the tracking store.
        registry_uri: of the registry; None for MLflow's own choice, usually the same store.

    Raises:
        RegistryReadError: the store does not exist or does not answer.
    """
    for place in {uri, registry_uri or uri}:
        _check_store(place)
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    logging.getLogger("mlflow").setLevel(logging.CRITICAL + 1)  # importing MLflow configures its loggers
    return MlflowClient(uri, registry_uri)


def registration(version: Any) -> Registration | None:
    """Return which entry of its registry a version of MLflow's is; None where it does not say when it was made.

    Renaming, stages, aliases and tags leave both facts alone; a copy of a version is an entry of its own.
    """
    created = version.creation_timestamp
    if not isinstance(created, int) or created <= 0:
        return None
    try:
        moment = _EPOCH + timedelta(milliseconds=created)
    except OverflowError:
        return None
    source = hashlib.sha256(str(version.source).encode("utf-8", "surrogatepass")).hexdigest()
    return Registration(moment, f"sha256:{source}")


@dataclass(slots=True)
class Connection:
    """An MLflow server, database or file store, connected on first use.

    Attributes:
        tracking_uri: of the tracking store; None for MLflow's environment variable.
        registry_uri: of the model registry; None where it is the same store.
    """

    tracking_uri: str | None
    registry_uri: str | None = None
    _client: Any = field(default=None, init=False, repr=False)

    def place(self) -> str:
        """Return the URI of the tracking store; raises as `tracking_uri`."""
        return tracking_uri(self.tracking_uri)

    def client(self) -> Any:
        """Return the MLflow client; to be called inside a `conversation`.

        Raises:
            UsageError: no tracking URI is known.
            RegistryReadError: the store does not exist or does not answer.
        """
        if self._client is None:
            self._client = connect(self.place(), self.registry_uri)
        return self._client


def _check_store(uri: str) -> None:
    scheme = urlsplit(uri).scheme
    if scheme in {"http", "https"}:
        _check_answers(uri)
    elif scheme.startswith("sqlite"):
        _check_database(uri)
    elif scheme in {"", "file"} and not uri.startswith(_HOSTED):
        folder = Path(unquote(urlsplit(uri).path))
        if not folder.is_dir():
            raise RegistryReadError("no such MLflow store", where=redacted(uri), hint=_NO_URI_HINT)


def _check_answers(uri: str) -> None:
    import requests  # noqa: PLC0415

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_PROBE_SECONDS, allow_redirects=False, stream=True).close()
    except requests.exceptions.SSLError:
        return  # it answers; MLflow has settings of its own for certificates
    except (requests.exceptions.RequestException, ValueError) as error:
        hint = "check the tracking URI and that the server runs"
        raise RegistryReadError(
            f"registry unreachable ({type(error).__name__})", where=redacted(uri), hint=hint
        ) from error


def _check_database(uri: str) -> None:
    path = Path(unquote(uri.partition(":///")[2].partition("?")[0]))
    try:
        with path.open("rb") as stream:
            is_database = stream.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise RegistryReadError(
            f"no such registry database ({error.strerror})", where=redacted(uri), hint=_NO_URI_HINT
        ) from error
    if not is_database:
        raise RegistryReadError("not an SQLite database", where=redacted(uri), hint=_NO_URI_HINT)


def _explained(error: Exception, where: str, failure: type[GateError]) -> GateError:
    said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    text = one_line(redacted(said[:_LONGEST_TEXT]), 300)
    code = str(getattr(error, "error_code", ""))
    where = redacted(where)
    if reason := text.partition(GATE_SAYS)[2]:
        return failure(f"the server's gate says: {reason}", where=where)
    if _DENIED.search(code) or _DENIED.search(text):
        return failure("access denied by the registry", where=where, hint=_DENIED_HINT)
    if code == "RESOURCE_DOES_NOT_EXIST":
        kind = NotFoundError if issubclass(NotFoundError, failure) else failure
        return kind(f"not in the registry: {text}", where=where, hint="check the name and version")
    doing = "could not be written" if failure.exit_code is ExitCode.UNWRITTEN else "could not be read"
    return failure(f"registry {doing}: {text}", where=where, hint="check the tracking URI and the server's log")
