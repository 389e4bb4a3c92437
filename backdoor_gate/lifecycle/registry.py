"""What follows a scan in a registry: what it holds of a version, aliases, and the list of all that is registered."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import GateError, OutputError, RegistryReadError, UsageError
from backdoor_gate.fleet import RegisteredVersion
from backdoor_gate.mlflow_client import Connection, conversation, registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from backdoor_gate.candidate_facts import Reference, Registration

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESERVED = re.compile(r"latest|v[0-9]+", re.IGNORECASE)
_PAGE = 200
"""Models or versions in one answer; registries send a page, and where the next one is."""
_LOADED_STAGES = ("Staging", "Production")


@dataclass(frozen=True, slots=True)
class Held:
    """What a registry holds of one version, read at one moment: its tags, and which entry it is."""

    tags: Mapping[str, str]
    registered: Registration | None


@dataclass(slots=True)
class Registry(Connection):
    """An MLflow registry."""

    def held(self, reference: Reference) -> Held:
        """Return what the registry holds of a version now; it may be another entry than the one that was resolved.

        Raises:
            RegistryReadError: the registry is unreachable, or has no such version any more.
        """
        with self._connected(reference.uri, RegistryReadError) as client:
            found = client.get_model_version(reference.name, reference.version)
            return Held(dict(found.tags), registration(found))

    def alias(self, reference: Reference, alias: str) -> str | None:
        """Return the number of the version that an alias of the model points to; None where there is no such alias.

        Raises:
            RegistryReadError: the registry is unreachable, or has no such model any more.
        """
        with self._connected(reference.uri, RegistryReadError) as client:
            found = client.get_registered_model(reference.name).aliases.get(alias)
            return None if found is None else str(found)

    def point(self, reference: Reference, alias: str, version: str | None) -> None:
        """Let an alias of the model point to a version number; None removes the alias.

        Raises:
            OutputError: the registry refused, or could not be reached.
        """
        with self._connected(reference.uri, OutputError) as client:
            if version is None:
                client.delete_registered_model_alias(reference.name, alias)
            else:
                client.set_registered_model_alias(reference.name, alias, version)

    def names(self) -> tuple[str, ...]:
        """Return the names of all registered models.

        Raises:
            RegistryReadError: the registry is unreachable.
        """
        with self._connected(self.place(), RegistryReadError) as client:
            return tuple(str(model.name) for model in _pages(client.search_registered_models))

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        """Return all versions of a registered model, also one that only an alias knows of.

        Raises:
            RegistryReadError: the registry is unreachable, or has no such model any more.
        """
        with self._connected(f"models:/{name}", RegistryReadError) as client:
            aliases: dict[str, list[str]] = {}
            for alias, target in sorted(client.get_registered_model(name).aliases.items()):
                aliases.setdefault(str(target), []).append(alias)
            pages = _pages(
                lambda **page: client.search_model_versions(_named(name), order_by=["version_number ASC"], **page)
            )
            # A search compares names as its database does, which may not tell cases apart.
            stages = {str(found.version): found.current_stage for found in pages if found.name == name}
        return tuple(
            RegisteredVersion(name, version, tuple(aliases.get(version, ())), _loaded(stages.get(version)))
            for version in stages | dict.fromkeys(aliases)
        )

    @contextmanager
    def _connected(self, where: str, failure: type[GateError]) -> Iterator[Any]:
        with conversation(where, failure):
            yield self.client()


def _pages(search: Callable[..., Any]) -> Iterable[Any]:
    """Return what all pages of a search hold; a registry that sends a page twice is not asked for ever."""
    token: str | None = None
    seen: set[str | None] = set()
    while token not in seen:
        seen.add(token)
        page = search(max_results=_PAGE, page_token=token)
        yield from page
        token = page.token or None


def _named(name: str) -> str:
    """Return the filter for one name; empty for a name with both kinds of quotes, which no filter can hold."""
    quote = next((quote for quote in "'\"" if quote not in name), None)
    return f"name = {quote}{name}{quote}" if quote else ""


def _loaded(stage: str | None) -> str | None:
    return stage if stage in _LOADED_STAGES else None


def check_alias(alias: str) -> None:
    """Check that an alias is one that MLflow lets people set.

    Raises:
        UsageError: it is not.
    """
    if not _ALIAS.fullmatch(alias) or _RESERVED.fullmatch(alias):
        hint = "use letters, digits, '_' and '-'; 'latest' and 'v' with a number are reserved"
        raise UsageError(f"not an alias: {alias!a:.80}", hint=hint)
