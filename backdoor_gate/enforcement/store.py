"""MLflow's own database store, with a question before each alias, stage, renaming and change of a statement."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from sqlalchemy import func

from backdoor_gate.enforcement.rules import Rules, denial, from_environment
from backdoor_gate.errors import NotVerifiedError
from backdoor_gate.mlflow_client import registration
from backdoor_gate.publishers.mlflow import STATEMENT

_PROMPT_SOURCES = {"prompt-template", "dummy-source"}
"""What MLflow writes as the source of a prompt's version, which has no files. Any model can be given such a version."""


def gated(database_uri: str) -> Any:
    """Return a gated store on a database.

    Args:
        database_uri: as MLflow takes it, without `gated+`.

    Raises:
        UsageError: the server's environment is incomplete.
    """
    rules = from_environment()
    kind = GatedWorkspaceStore if MLFLOW_ENABLE_WORKSPACES.get() else GatedStore
    return kind(database_uri, rules)


if TYPE_CHECKING:
    from collections.abc import Iterator

    _Base = Any
else:
    _Base = object


class _Gated(_Base):  # type: ignore[misc]
    """The questions; mixed into each of MLflow's database stores."""

    def __init__(self, database_uri: str, rules: Rules) -> None:
        self._rules = rules
        super().__init__(database_uri)

    def set_registered_model_alias(self, name: str, alias: str, version: Any) -> Any:
        """Set an alias; an enforced one only on a version with a signed PASS."""
        if self._rules.covers_alias(alias):
            self._ask(name, version, f"alias '{alias}'")
        return super().set_registered_model_alias(name, alias, version)

    def transition_model_version_stage(
        self, name: str, version: Any, stage: str, archive_existing_versions: Any
    ) -> Any:
        """Move a version to a stage; to an enforced one only with a signed PASS."""
        if self._rules.covers_stage(stage):
            self._ask(name, version, f"stage '{stage}'")
        return super().transition_model_version_stage(name, version, stage, archive_existing_versions)

    def rename_registered_model(self, name: str, new_name: str) -> Any:
        """Rename a model, unless it holds an enforced name: its statements speak of the old one."""
        model = self.get_registered_model(name)
        held = [alias for alias in model.aliases if self._rules.covers_alias(alias)]
        held += [
            found.current_stage for found in model.latest_versions if self._rules.covers_stage(found.current_stage)
        ]
        if held:
            with _refusing("renaming"):
                what = f"'{held[0]}' would move to a name that was never scanned"
                raise NotVerifiedError(what, hint="remove it first")
        return super().rename_registered_model(name, new_name)

    def set_model_version_tag(self, name: str, version: Any, tag: Any) -> None:
        """Set a tag of a version; a signed statement only makes way for a newer one about the same version."""
        found = self.get_model_version(name, version)
        if self._is_statement(found, tag.key):
            if found.tags.get(STATEMENT) == tag.value:
                return  # to write it once more could undo what another request writes at the same time
            self._ask_to_replace(found, tag.value)
        super().set_model_version_tag(name, version, tag)

    def delete_model_version_tag(self, name: str, version: Any, key: str) -> None:
        """Delete a tag of a version; a signed statement about that version stays."""
        found = self.get_model_version(name, version)
        if self._is_statement(found, key):
            self._ask_to_replace(found, None)
        super().delete_model_version_tag(name, version, key)

    def _is_statement(self, found: Any, key: str) -> bool:
        """Whether a key is the statement's to the database too: many tell neither cases nor accents apart."""
        if key == STATEMENT:
            return True
        with self.ManagedSessionMaker() as session:
            held = self._get_model_version_tag(session, found.name, int(found.version), key)
            return held is not None and held.key == STATEMENT

    def _ask_to_replace(self, found: Any, envelope: str | None) -> None:
        with _refusing("change of the signed statement"):
            self._rules.check_replacement(registration(found), found.tags.get(STATEMENT), envelope)

    def _ask(self, name: str, version: Any, what: str) -> None:
        found = self.get_model_version(name, version)
        placeholder = found.source in _PROMPT_SOURCES
        if placeholder and self._is_prompt(found.name):
            return
        with _refusing(what):
            if placeholder:
                why = f"version {found.version} is a prompt, without files, under a model's name"
                raise NotVerifiedError(why, hint="name a version with files; give prompts names of their own")
            self._rules.check(found.name, str(found.version), registration(found), found.tags)

    def _is_prompt(self, name: str) -> bool:
        """Whether a name is a prompt's: MLflow goes by a tag, which many may set; so no version may have files."""
        if not self.get_registered_model(name)._is_prompt():
            return False
        with self.ManagedSessionMaker() as session:
            with_files = self._get_query(session, SqlModelVersion).filter(
                SqlModelVersion.name == name,
                SqlModelVersion.current_stage != STAGE_DELETED_INTERNAL,
                func.coalesce(SqlModelVersion.source, "").notin_(_PROMPT_SOURCES),
            )
            return with_files.first() is None


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Refuse the client's request where a check in this block fails."""
    try:
        yield
    except NotVerifiedError as error:
        # Of the codes that refuse, only this one is not retried by clients.
        raise MlflowException(denial(error, what), error_code=PERMISSION_DENIED) from error


class GatedStore(_Gated, SqlAlchemyStore):  # type: ignore[misc]
    """The gate on MLflow's ordinary database store."""


class GatedWorkspaceStore(_Gated, WorkspaceAwareSqlAlchemyStore):  # type: ignore[misc]
    """The gate on MLflow's database store with workspaces."""
