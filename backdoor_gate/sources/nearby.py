"""What a registry holds in place of what was asked for: models of like names, else the model's versions and aliases."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from backdoor_gate.sources.manifest import shown
from backdoor_gate.sources.references import ByAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backdoor_gate.sources.references import ByVersion

_LISTED = 8
_SEARCHED = 1000
"""Models of a registry whose names are looked through: one page of an answer."""
_ELSE = "check the name, and that the model is registered there"


def nearby(client: Any, name: str, wanted: ByVersion | ByAlias) -> str:
    """Return what to write in place of a version or an alias that the registry does not have.

    Args:
        client: MLflow's; whatever it cannot tell is left out.
        name: of the model.
        wanted: what it does not have.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        if not _is_registered(client, name):
            return _models(name, [str(model.name) for model in client.search_registered_models(max_results=_SEARCHED)])
        return _aliases(client, name) if isinstance(wanted, ByAlias) else _versions(client, name)
    except MlflowException:
        return _ELSE


def _is_registered(client: Any, name: str) -> bool:
    """Tell whether there is such a model; a list of them may end before it."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _models(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"did you mean {_listed(near, ' or ')}? check the name"
    return f"write one of its models: {_listed(sorted(names))}" if names else "no model is registered there"


def _versions(client: Any, name: str) -> str:
    quote = '"' if "'" in name else "'"
    found = client.search_model_versions(f"name = {quote}{name}{quote}", order_by=["version_number DESC"])
    numbers = [str(version.version) for version in found if version.name == name]
    return f"write one of its versions: {_listed(numbers)}" if numbers else "it has no versions: register one"


def _aliases(client: Any, name: str) -> str:
    aliases = sorted(client.get_registered_model(name).aliases)
    return f"write one of its aliases: {_listed(aliases)}" if aliases else "it has no aliases: name a version"


def _listed(names: Iterable[str], link: str = ", ") -> str:
    """Return the first names, safe to show: anyone may register a model."""
    every = [shown(name) for name in names]
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return link.join(every[:_LISTED]) + more
