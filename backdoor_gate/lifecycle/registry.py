"""What a promotion reads and writes in a registry: the gate's tags of a version, and aliases."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import GateError, OutputError, RegistryReadError, UsageError
from backdoor_gate.mlflow_client import connect, conversation, tracking_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.records import Reference

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESERVED = re.compile(r"latest|v[0-9]+", re.IGNORECASE)


@dataclass(slots=True)
class Registry:
    """An MLflow registry.

    Attributes:
        tracking_uri: of the tracking store; None for MLflow's environment variable.
        registry_uri: of the model registry; None where it is the same store.
    """

    tracking_uri: str | None
    registry_uri: str | None = None
    _client: Any = field(default=None, init=False, repr=False)

    def tags(self, reference: Reference) -> dict[str, str]:
        """Return the tags of a version.

        Raises:
            RegistryReadError: the registry is unreachable, or has no such version any more.
        """
        with self._connected(reference, RegistryReadError) as client:
            return dict(client.get_model_version(reference.name, reference.version).tags)

    def alias(self, reference: Reference, alias: str) -> str | None:
        """Return the number of the version that an alias of the model points to; None where there is no such alias.

        Raises:
            RegistryReadError: the registry is unreachable, or has no such model any more.
        """
        with self._connected(reference, RegistryReadError) as client:
            found = client.get_registered_model(reference.name).aliases.get(alias)
            return None if found is None else str(found)

    def point(self, reference: Reference, alias: str, version: str | None) -> None:
        """Let an alias of the model point to a version number; None removes the alias.

        Raises:
            OutputError: the registry refused, or could not be reached.
        """
        with self._connected(reference, OutputError) as client:
            if version is None:
                client.delete_registered_model_alias(reference.name, alias)
            else:
                client.set_registered_model_alias(reference.name, alias, version)

    @contextmanager
    def _connected(self, reference: Reference, failure: type[GateError]) -> Iterator[Any]:
        with conversation(reference.uri, failure):
            if self._client is None:
                self._client = connect(tracking_uri(self.tracking_uri), self.registry_uri)
            yield self._client


def check_alias(alias: str) -> None:
    """Check that an alias is one that MLflow lets people set.

    Raises:
        UsageError: it is not.
    """
    if not _ALIAS.fullmatch(alias) or _RESERVED.fullmatch(alias):
        hint = "use letters, digits, '_' and '-'; 'latest' and 'v' with a number are reserved"
        raise UsageError(f"not an alias: {alias!a:.80}", hint=hint)
