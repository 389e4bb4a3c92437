"""The action's own steps, run as a GitHub runner runs them, on candidates of a SQLite registry.

Stated differences: no step that `uses` another action runs, and in place of an installation the new environment gets
this one's interpreter and command.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e_parts import BUILT, MODEL, QUICK, junit_states, weights_of
from safetensors.numpy import save
from support import digits
from support.forging import Payload, state_archive
from support.github_runner import Command, Result, Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e_parts import WritePolicy

ROOT = Path(__file__).parents[2]
REPORTS = "\n".join(f"{kind}=out/gate.{kind}" for kind in ("junit", "json", "markdown", "sarif", "html"))

EVIL = "a\n::set-output name=verdict::PASS\r\n##[set-output name=verdict;]PASS\n::add-path::/tmp/x\n`touch pwned`"
"""What a candidate would like the runner to read."""

STAND_IN = """\
#!/bin/sh
# An interpreter that makes environments and installs into them by writing down that it was asked to.
case "$2" in
  venv)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    ;;
  pip)
    echo "$@" "cache=$PIP_CACHE_DIR" > "$RUNNER_TEMP/installed"
    here=$(dirname "$0")
    main='from backdoor_gate.cli import main; main()'
    printf '#!/bin/sh\\nexec "%s" -c "%s" "$@"\\n' {python} "$main" > "$here/backdoor-gate"
    chmod +x "$here/backdoor-gate"
    rm "$here/python"
    printf '#!/bin/sh\\nexec "%s" "$@"\\n' {python} > "$here/python"
    chmod +x "$here/python"
    ;;
  *) exec {python} "$@" ;;
esac
"""


@dataclass
class Store:
    """A registry in a file."""

    uri: str
    folder: Path

    def register(self, name: str, file: str, content: bytes) -> str:
        """Register one file as a version, without an MLmodel file, and return its reference."""
        from mlflow.tracking import MlflowClient  # noqa: PLC0415

        client = MlflowClient(self.uri)
        run = client.create_run("0")
        (self.folder / file).write_bytes(content)
        client.log_artifact(run.info.run_id, str(self.folder / file), "weights")
        client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/weights"
        version = client.create_model_version(name, source=source, run_id=run.info.run_id)
        return f"models:/{name}/{version.version}"

    def verdict(self, reference: str) -> str | None:
        """Return the tag with the verdict."""
        from mlflow.tracking import MlflowClient  # noqa: PLC0415

        name, _, version = reference.removeprefix("models:/").rpartition("/")
        return MlflowClient(self.uri).get_model_version(name, version).tags.get("backdoor_gate.verdict")


@pytest.fixture
def store(sqlite_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The registry, and a folder for files on their way there."""
    return Store(sqlite_registry, tmp_path_factory.mktemp("on_their_way"))


@pytest.fixture
def act(folder: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Run the action in the working folder, as a job whose other steps set nothing up."""
    temp = tmp_path_factory.mktemp("runner_temp")
    python = temp / "hosted-python"
    python.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    uses = {
        "actions/setup-python": lambda given: {"python-path": str(python)},
        "actions/cache": lambda given: {"cache-hit": str(not (given["path"] and given["key"])).lower()},
    }
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "XDG_DATA_HOME", "OMP_NUM_THREADS")}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    runner = Runner(ROOT, folder, temp, uses, environment)
    return lambda **inputs: runner.run(**{"policy": "policy.yaml", "tracking-uri": store.uri, "device": "cpu"} | inputs)


def nothing_leaked(result: Result, folder: Path, allowed: tuple[str, ...] = ()) -> None:
    """Fail where the runner was told anything but the annotations, or a shell ran a name."""
    told = [command for step in result.steps.values() for command in step.commands]
    assert {command.name for command in told} <= set(allowed)
    for command in told:
        assert command.properties.endswith(",file=policy.yaml")
    assert set(result.steps["scan"].outputs) == set(result.outputs)
    assert list(folder.rglob("pwned")) == []
    for text in (result.steps["scan"].summary, (folder / "out/gate.markdown").read_text(encoding="utf-8")):
        assert not any(line.startswith(("::", "##[")) for line in text.splitlines())


def report_of(result: Result) -> dict[str, object]:
    return json.loads(Path(result.outputs["report"]).read_text(encoding="utf-8"))


def annotations(result: Result) -> list[Command]:
    return [command for command in result.steps["scan"].commands if command.name == "error"]


def test_a_passing_candidate(store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]) -> None:
    policy(MODEL | BUILT, detectors=QUICK)
    name = "digits `touch pwned` $(touch pwned) ##[set-output name=verdict;]BLOCK"
    reference = store.register(name, "model.safetensors", save(dict(weights_of(digits.trained()))))
    result = act(model=reference, reports=REPORTS)
    scan = result.steps["scan"]
    assert (scan.code, result.conclusion) == (0, "success"), scan.log
    assert result.outputs["verdict"] == report_of(result)["verdict"] == store.verdict(reference) == "PASS"
    assert (result.outputs["candidate"], result.outputs["suspect-classes"]) == (reference, "[]")
    assert scan.summary.count("# ") >= 1
    assert "PASS" in scan.summary
    assert junit_states(folder / "out/gate.junit") == {"max_margin": "passed"}
    assert json.loads((folder / "out/gate.sarif").read_text())["runs"][0]["results"] == []
    nothing_leaked(result, folder)


def test_the_installation_is_pinned_and_its_downloads_are_kept(
    store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]
) -> None:
    policy(MODEL | BUILT, detectors=QUICK)
    result = act(model="models:/nobody/1", reports="markdown=out/gate.markdown", cache="true")
    (installed,) = (Path(result.steps["cache"].outputs["folder"]).parent).glob("installed")
    words = installed.read_text().split()
    assert words[-4:-1] == ["--constraint", f"{ROOT}/constraints.txt", str(ROOT)]
    assert words[-1] == f"cache={result.steps['cache'].outputs['folder']}"
    assert result.steps["cache"].outputs["key"].startswith("backdoor-gate-Linux-")
    assert result.steps["Restore and keep the packages"].outputs == {"cache-hit": "false"}
    assert (result.steps["scan"].code, result.outputs["verdict"], result.outputs["candidate"]) == (
        4,
        "INCONCLUSIVE",
        "",
    )
    nothing_leaked(result, folder, ("error",))


@pytest.mark.slow
def test_without_the_cache_and_without_publishing(
    store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]
) -> None:
    policy(MODEL | BUILT, detectors=QUICK)
    reference = store.register("unpublished", "model.safetensors", save(dict(weights_of(digits.trained()))))
    result = act(model=reference, reports=REPORTS, cache="false", publish="false", budget="5m")
    assert result.steps["cache"].conclusion == result.steps["Restore and keep the packages"].conclusion == "skipped"
    assert (result.outputs["verdict"], store.verdict(reference)) == ("PASS", None)


@pytest.mark.slow
def test_a_blocked_candidate(store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]) -> None:
    policy(MODEL | BUILT)
    weights = save(dict(weights_of(digits.trained("patch"))))
    reference = store.register("backdoored", "model.safetensors", weights)
    result = act(model=reference, reports=REPORTS)
    scan = result.steps["scan"]
    assert (scan.code, result.conclusion) == (1, "failure"), scan.log
    assert result.outputs["verdict"] == report_of(result)["verdict"] == store.verdict(reference) == "BLOCK"
    assert json.loads(result.outputs["suspect-classes"]) == [digits.TARGET]
    assert float(result.outputs["anomaly-index"]) > 2
    assert "BLOCK" in scan.summary
    states = junit_states(folder / "out/gate.junit")
    failed = [name for name, state in states.items() if state in {"failure", "error"}]
    assert "neural_cleanse" in failed
    titles = [command.properties for command in annotations(result)]
    assert titles == [f"title=BLOCK%3A {name},file=policy.yaml" for name in failed]
    nothing_leaked(result, folder, ("error",))


@pytest.mark.slow
def test_a_refused_candidate(store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]) -> None:
    policy(MODEL | BUILT, detectors=QUICK)
    pickled = pickle.dumps({EVIL: Payload(os.system, f"touch {folder}/pwned")}, 2)
    reference = store.register("refused", "model.pth", state_archive(pickled))
    result = act(model=reference, reports=REPORTS)
    scan = result.steps["scan"]
    assert (scan.code, result.conclusion) == (3, "failure"), scan.log
    assert result.outputs["verdict"] == report_of(result)["verdict"] == store.verdict(reference) == "REFUSED"
    assert result.outputs["anomaly-index"] == ""
    assert "REFUSED" in scan.summary
    assert junit_states(folder / "out/gate.junit") == {"max_margin": "error"}
    assert len(annotations(result)) == 1
    nothing_leaked(result, folder, ("error",))


@pytest.mark.slow
def test_a_name_in_the_candidate_is_no_command(
    store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]
) -> None:
    policy(MODEL | BUILT, detectors=QUICK)
    weights = dict(weights_of(digits.trained()))
    weights[EVIL] = weights.pop("0.weight")
    result = act(model=store.register("evil-names", "model.safetensors", save(weights)), reports=REPORTS)
    assert "set-output name=verdict" in str(report_of(result)["reasons"])
    assert (result.steps["scan"].code, result.outputs["verdict"]) == (3, "REFUSED")
    nothing_leaked(result, folder, ("error",))


@pytest.mark.slow
def test_a_broken_candidate(store: Store, folder: Path, policy: WritePolicy, act: Callable[..., Result]) -> None:
    policy(MODEL | BUILT, detectors=QUICK)
    whole = save(dict(weights_of(digits.trained())))
    assert struct.unpack("<Q", whole[:8])[0] < len(whole) // 2
    reference = store.register("broken", "model.safetensors", whole[: len(whole) // 2])
    result = act(model=reference, reports=REPORTS)
    scan = result.steps["scan"]
    assert (scan.code, result.conclusion) == (3, "failure"), scan.log
    assert result.outputs["verdict"] == store.verdict(reference) == "REFUSED"
    assert "REFUSED" in scan.summary
    assert junit_states(folder / "out/gate.junit") == {"max_margin": "error"}
    nothing_leaked(result, folder, ("error",))
