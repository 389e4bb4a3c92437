"""A pipeline up to the promotion: models registered with a policy, code and data, and verdicts published on them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import tiny_network

from backdoor_gate import __version__
from backdoor_gate.architecture_digest import code_digest
from backdoor_gate.catalogue import BY_NAME, PACK_VERSION
from backdoor_gate.errors import RegistryReadError
from backdoor_gate.lifecycle.registry import Registry
from backdoor_gate.lifecycle.verify import Claim
from backdoor_gate.mlflow_client import conversation
from backdoor_gate.policy import load
from backdoor_gate.policy.references import references_digest
from backdoor_gate.publishers.attestation.keys import SigningKey, create_pair
from backdoor_gate.publishers.attestation.signer import Signer
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.records import (
    AuditReport,
    Cost,
    Coverage,
    DataFacts,
    Decision,
    DetectorResult,
    InputSpec,
    Runtime,
    Scan,
    Status,
    Suspicion,
    Verdict,
)
from backdoor_gate.sources.manifest import path_digest
from backdoor_gate.sources.mlflow import MlflowSource
from backdoor_gate.verdict.references import References, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.tracking import MlflowClient

    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.policy import Policy

POLICY = """\
version: 1
model:
  architecture: tiny:build
  architecture_path: nets
  num_classes: 10
  input: {shape: [1, 8, 8]}
data: {clean: clean.npz}
signing: {key: gate.key, trusted: [gate.pub]}
"""


@dataclass
class Pipeline:
    """One registry, one policy, one key.

    Attributes:
        uri: of the registry.
        folder: holds `policy.yaml`, `nets/`, `clean.npz`, `gate.key` and `gate.pub`.
        experiment: where runs are logged.
    """

    uri: str
    folder: Path
    experiment: str = "0"
    key: SigningKey = field(init=False)
    client: MlflowClient = field(init=False)
    runs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the files."""
        (self.folder / "nets").mkdir()
        (self.folder / "nets" / "tiny.py").write_text(tiny_network.SOURCE)
        (self.folder / "clean.npz").write_bytes(b"clean images")
        (self.folder / "policy.yaml").write_text(POLICY)
        self.key, _ = create_pair(self.folder / "gate.key")
        self.connect(self.uri)

    def calibrate(self, rate: float) -> None:
        """Let the policy name references, which were judged by this false-block rate."""
        file = self.folder / "policy.yaml"
        if "references:" not in file.read_text():
            file.write_text(f"{file.read_text()}references: references.json\n")
        found = References(detectors={}, data="clean", false_block_rate=rate, models=())
        (self.folder / "references.json").write_bytes(render(found))

    def connect(self, uri: str) -> None:
        """Use a registry."""
        from mlflow.tracking import MlflowClient  # noqa: PLC0415

        self.uri, self.client = uri, MlflowClient(uri)

    @property
    def policy(self) -> Policy:
        """The policy as it stands in its file now."""
        return load(self.folder / "policy.yaml")

    @property
    def claim(self) -> Claim:
        """What `verify` and `promote` are asked with."""
        return Claim(self.policy)

    @property
    def source(self) -> MlflowSource:
        """Where the models are."""
        return MlflowSource(self.uri)

    @property
    def registry(self) -> Registry:
        """Where tags and aliases are."""
        return Registry(self.uri)

    def register(self, name: str, content: bytes = b"weights") -> Reference:
        """Log a file as a new version of a model, which is made on first use."""
        with conversation(name, RegistryReadError):
            run = self.client.create_run(self.experiment)
            if not self.client.search_registered_models(f"name = '{name}'"):
                self.client.create_registered_model(name)
            source = f"{run.info.artifact_uri}/model"
            version = self.client.create_model_version(name, source=source, run_id=run.info.run_id)
        uri = f"models:/{name}/{version.version}"
        self.runs[uri] = run.info.run_id
        self.overwrite(uri, content)
        return self.source.resolve(uri)

    def overwrite(self, uri: str, content: bytes, file: str = "model.safetensors") -> None:
        """Put a file among those of a registered version, through MLflow's client."""
        with tempfile.TemporaryDirectory() as folder, conversation(uri, RegistryReadError):
            (Path(folder) / file).write_bytes(content)
            self.client.log_artifact(self.runs[uri], str(Path(folder) / file), "model")

    def passed(self, reference: Reference, **changes: Any) -> AuditReport:
        """Return the report of a scan of the bytes that are there now, which passed."""
        with tempfile.TemporaryDirectory() as folder:
            candidate = self.source.fetch(reference, Path(folder))
        now = datetime.now(UTC)
        results = tuple(
            DetectorResult(
                name, True, Status.MEASURED, "no class stands out", anomaly_index=1.2345, cost=Cost(1.0, 9, 9)
            )
            for name in BY_NAME
        )
        report = AuditReport(
            scan_id="0123456789abcdef",
            scanned_at=now,
            expires_at=now + timedelta(days=90),
            requested=reference.requested,
            candidate=candidate,
            policy=self.policy.ref,
            detector_pack=PACK_VERSION,
            false_block_rate=0.01,
            decision=Decision(Verdict.PASS, Suspicion.NONE, (), ("no evidence",), results),
            coverage=Coverage(tuple(f"{spec.name}: {spec.claim}" for spec in BY_NAME.values()), ("everything else",)),
            seconds=1.0,
            architecture_digest=code_digest("tiny:build", self.folder / "nets"),
            data_digest=path_digest(self.folder / "clean.npz"),
            entry_digest=self.policy.entry_digest(reference.name),
            references_digest=references_digest(self.policy),
            scan=Scan(
                10,
                InputSpec((1, 8, 8)),
                "safetensors",
                DataFacts("clean", 9, 1.0),
                (),
                Runtime("2.13.0", "cpu", "B", 0),
            ),
            tool_version=__version__,
        )
        return replace(report, **changes)

    def publish(self, reference: Reference, key: SigningKey | None = None, **changes: Any) -> AuditReport:
        """Publish a PASS of a version, changed as named, signed with the pipeline's key or another."""
        report = self.passed(reference, **changes)
        publisher = MlflowPublisher(self.uri, sign=Signer(key or self.key))
        publisher.begin(reference, report.scan_id)
        publisher.finish(reference, report)
        return report

    def tag(self, reference: Reference, key: str, value: str) -> None:
        """Set one of the gate's tags, as anyone with the right to can."""
        self.client.set_model_version_tag(reference.name, reference.version, f"backdoor_gate.{key}", value)

    def tags(self, reference: Reference) -> dict[str, str]:
        """Return all tags of a version."""
        return self.registry.held(reference).tags

    def wear(self, reference: Reference, tags: Mapping[str, str]) -> None:
        """Put on a version the gate's tags of another, or of an earlier day."""
        for key, value in tags.items():
            self.tag(reference, key.removeprefix("backdoor_gate."), value)

    def register_anew(self, name: str, content: bytes = b"weights") -> Reference:
        """Delete a model and register it again: the same name, and the same number."""
        self.client.delete_registered_model(name)
        return self.register(name, content)

    def alias(self, reference: Reference, name: str) -> str | None:
        """Return the version that an alias points to."""
        return self.registry.alias(reference, name)
