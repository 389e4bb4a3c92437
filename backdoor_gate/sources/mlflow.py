"""Models in an MLflow registry or tracking store: a name is resolved to a version once, then bytes are copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from backdoor_gate.candidate_facts import Candidate, Reference
from backdoor_gate.errors import RefusedError, RegistryReadError, UsageError
from backdoor_gate.mlflow_client import Connection, NotFoundError, conversation, registration
from backdoor_gate.sources.artifacts import download, has_files
from backdoor_gate.sources.candidate import candidate
from backdoor_gate.sources.manifest import shown
from backdoor_gate.sources.nearby import nearby
from backdoor_gate.sources.references import ByAlias, ById, ByVersion, InRun, parse

if TYPE_CHECKING:
    from pathlib import Path

_LOCATION_HOPS = 4
"""A version's source may itself be a `models:` or `runs:` URI; registries write one hop, and a loop must end."""


@dataclass(slots=True)
class MlflowSource(Connection):
    """Models and data in an MLflow server, database or file store."""

    def resolve(self, reference: str) -> Reference:
        """Resolve a name to its version, and that to where its bytes are; an alias that moves later changes nothing.

        Raises:
            UsageError: the reference is not well-formed, or no tracking URI is known.
            RegistryReadError: the registry is unreachable, or has no such model, version, alias or run.
        """
        parsed = parse(reference)
        with conversation(reference, RegistryReadError):
            if isinstance(parsed, ByVersion | ByAlias):
                return self._resolve_version(parsed, reference)
            location = self._locate(reference)
        uri = f"models:/{parsed.model_id}" if isinstance(parsed, ById) else f"runs:/{parsed.run_id}/{parsed.path}"
        return Reference(reference, uri, reference, None, location)

    def fetch(self, reference: Reference, destination: Path) -> Candidate:
        """Copy the version's bytes into the empty folder `destination`, executing nothing, and hash the copy.

        Raises:
            RegistryReadError: the bytes could not be read.
            RefusedError: the files, or the MLmodel among them, are not acceptable.
        """
        with conversation(reference.uri, RegistryReadError):
            self.client()
            download(reference.source, self.place(), destination)
        return candidate(reference, destination)

    def fetch_data(self, uri: str, destination: Path) -> Path:
        """Copy the clean data at an artifact URI below `destination` and return the file or folder.

        Raises:
            UsageError: there is nothing at that URI, or it holds what a manifest refuses.
            RegistryReadError: the store is unreachable.
        """
        target = destination / "data"
        target.mkdir(parents=True)
        try:
            with conversation(uri, RegistryReadError):
                self.client()
                return download(self._locate(uri), self.place(), target)
        except (NotFoundError, RefusedError) as error:
            raise UsageError(error.what, where=error.where or shown(uri), hint=error.hint) from error

    def _resolve_version(self, parsed: ByVersion | ByAlias, reference: str) -> Reference:
        found = self._version(parsed)
        name, version = str(found.name), str(found.version)
        location = self._follow(self.client().get_model_version_download_uri(name, version))
        return Reference(reference, f"models:/{name}/{version}", name, version, location, registration(found))

    def _version(self, parsed: ByVersion | ByAlias) -> Any:
        """Look a version up under the name as written, else under its URL-decoded form."""
        try:
            return self._version_of(parsed.name, parsed)
        except NotFoundError:
            if (decoded := unquote(parsed.name)) == parsed.name:
                raise
            return self._version_of(decoded, parsed)

    def _version_of(self, name: str, parsed: ByVersion | ByAlias) -> Any:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        client = self.client()
        try:
            if isinstance(parsed, ByVersion):
                return client.get_model_version(name, parsed.version)
            return client.get_model_version_by_alias(name, parsed.alias)
        except MlflowException as error:
            # A missing alias is reported as an invalid parameter, a missing model or version as a missing resource.
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            wanted = f"version {parsed.version}" if isinstance(parsed, ByVersion) else f"alias '{shown(parsed.alias)}'"
            what = f"the registry has no {wanted} of model '{shown(name)}'"
            raise NotFoundError(what, hint=nearby(client, name, parsed)) from error

    def _follow(self, location: str) -> str:
        for _ in range(_LOCATION_HOPS):
            if not location.startswith(("models:", "runs:")):
                return location
            location = self._locate(location)
        raise RegistryReadError(
            "the version's source leads from model to model",
            where=shown(location),
            hint="register the files themselves",
        )

    def _locate(self, uri: str) -> str:
        """Return where the bytes of one URI are: itself, unless it names a model or a run."""
        if not uri.startswith(("models:", "runs:")):
            return uri
        parsed, client = parse(uri), self.client()
        if isinstance(parsed, InRun):
            return self._locate_in_run(parsed)
        if isinstance(parsed, ById):
            return str(client.get_logged_model(parsed.model_id).artifact_location)
        found = self._version(parsed)
        return str(client.get_model_version_download_uri(found.name, str(found.version)))

    def _locate_in_run(self, parsed: InRun) -> str:
        from mlflow.utils.uri import append_to_uri_path  # noqa: PLC0415

        client = self.client()
        run = client.get_run(parsed.run_id)
        top, _, below = parsed.path.partition("/")
        outputs = run.outputs.model_outputs if run.outputs else []
        logged = [client.get_logged_model(output.model_id) for output in outputs]
        models = [model for model in logged if model.name == top]
        artifacts = str(run.info.artifact_uri)
        if not models:
            return str(append_to_uri_path(artifacts, parsed.path))
        # MLflow merges same-named artifacts and models on download, so what loads is not what any one of them holds.
        if len(models) > 1 or has_files(str(append_to_uri_path(artifacts, top)), self.place()):
            raise RefusedError(
                "the run logged more than one thing under this name", hint="name the model by models:/m-ID"
            )
        location = str(models[0].artifact_location)
        return str(append_to_uri_path(location, below)) if below else location
