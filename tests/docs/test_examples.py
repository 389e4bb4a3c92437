"""The ready examples: their services' published schemas take them, and their commands run against a real registry."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from command_lines import check_call, check_words
from pipeline_files import check, commands_of, dictionaries
from snippets import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Workplace

EXAMPLES = ROOT / "examples"
AIRFLOW = EXAMPLES / "airflow" / "backdoor_gate_dag.py"
JENKINS = EXAMPLES / "jenkins" / "Jenkinsfile"
DATABRICKS = EXAMPLES / "databricks" / "databricks.yml"
KUBERNETES = EXAMPLES / "kubernetes" / "cronjob.yaml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
SCHEMAS = {
    "gitlab": EXAMPLES / "gitlab" / "gitlab-ci.yml",
    "azure": EXAMPLES / "azure" / "azure-pipelines.yml",
    "kubernetes": KUBERNETES,
    "pre-commit": EXAMPLES / "pre-commit" / "pre-commit-config.yaml",
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jenkins_calls() -> list[str]:
    return re.findall(r"\bsh '([^'\n]+)'", JENKINS.read_text(encoding="utf-8"))


def airflow_calls() -> list[str]:
    """Return what the tasks call, in the names of a workplace."""
    tree = ast.parse(AIRFLOW.read_text(encoding="utf-8"))
    keywords = [word for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords]
    return [ast.literal_eval(word.value) for word in keywords if word.arg == "bash_command"]


def databricks_calls() -> list[str]:
    (job,) = read(DATABRICKS)["resources"]["jobs"].values()
    assert [task["spark_python_task"]["python_file"] for task in job["tasks"]] == ["gate.py", "gate.py"]
    return [_databricks(task["spark_python_task"]["parameters"]) for task in job["tasks"]]


def _databricks(words: list[str]) -> str:
    """Fill in what Databricks does, and call the program as its task does."""
    joined = " ".join(f'"{word}"' for word in words)
    filled = joined.replace("{{job.parameters.model}}", "$MODEL").replace("${workspace.file_path}/", "")
    return f'python "{EXAMPLES / "databricks" / "gate.py"}" {filled}'


def kubernetes_calls() -> list[str]:
    (container,) = (part for part in dictionaries(read(KUBERNETES)) if "volumeMounts" in part)
    return ["backdoor-gate " + " ".join(container["args"]).replace("/etc/backdoor-gate/", "")]


CALLS: dict[str, Callable[[], list[str]]] = {
    "gitlab": lambda: commands_of(read(SCHEMAS["gitlab"])),
    "azure": lambda: commands_of(read(SCHEMAS["azure"])),
    "jenkins": jenkins_calls,
    "airflow": airflow_calls,
    "databricks": databricks_calls,
    "kubernetes": kubernetes_calls,
}


def test_every_example_is_tested_and_documented() -> None:
    tested = {path.parent.name for path in (*SCHEMAS.values(), AIRFLOW, JENKINS, DATABRICKS)}
    # Those for GitHub have tests of their own.
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} - {"github"} == tested
    guide = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    for path in (path for name in tested for path in (EXAMPLES / name).iterdir() if path.is_file()):
        assert f"(../{path.relative_to(ROOT).as_posix()})" in guide


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_published_schema_takes_it(kind: str, tmp_path: Path) -> None:
    check(kind, read(SCHEMAS[kind]), tmp_path)


@pytest.mark.parametrize("name", CALLS)
def test_its_commands_exist(name: str) -> None:
    calls = CALLS[name]()
    assert calls
    for line in calls:
        program, _, rest = line.partition('gate.py" ')
        check_call(f"backdoor-gate {rest}" if rest else program)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_its_commands_run(name: str, passed: Workplace) -> None:
    for line in CALLS[name]():
        done = passed.run(line, BACKDOOR_GATE_HOME=str(passed.folder))
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
def test_a_databricks_task_fails_where_the_gate_does(workplace: Workplace) -> None:
    done = workplace.run(_databricks(["verify", "models:/digits/99", "--policy", "policy.yaml"]))
    assert done.returncode == 1
    assert "backdoor-gate ended with 4" in done.stderr


def test_the_databricks_job_has_no_field_that_its_service_does_not_know() -> None:
    from databricks.sdk.service.jobs import JobSettings  # noqa: PLC0415

    (job,) = read(DATABRICKS)["resources"]["jobs"].values()
    assert JobSettings.from_dict(job).as_dict() == job


def test_the_dag_hands_names_over_as_data_and_never_tries_again() -> None:
    source = AIRFLOW.read_text(encoding="utf-8")
    compile(source, str(AIRFLOW), "exec")
    assert all("{{" not in line for line in airflow_calls())
    assert '"retries": 0' in source


def test_jenkins_expands_nothing_in_groovy() -> None:
    source = JENKINS.read_text(encoding="utf-8")
    assert len(jenkins_calls()) == len(re.findall(r"\bsh\b(?! takes)", re.sub(r"//.*", "", source)))
    for pair in ("{}", "()"):
        assert source.count(pair[0]) == source.count(pair[1])


# ---------------------------------------------------------------------------------------------- pre-commit


def test_the_hooks_call_commands_that_exist() -> None:
    given = {hook["id"]: hook["args"] for repo in read(SCHEMAS["pre-commit"])["repos"] for hook in repo["hooks"]}
    hooks = {hook["id"]: hook for hook in read(HOOKS)}
    assert set(given) == set(hooks)
    for name, hook in hooks.items():
        assert hook["pass_filenames"] is False
        check_words([*hook["entry"].split()[1:], *given[name]])


@pytest.mark.slow
def test_pre_commit_runs_both_hooks(workplace: Workplace, tmp_path: Path) -> None:
    """With the gate that is installed here: pre-commit's own installation of it would fetch torch anew."""
    hooks, work = tmp_path / "hooks", workplace.folder
    hooks.mkdir()
    text = HOOKS.read_text(encoding="utf-8").replace("language: python", "language: system")
    (hooks / HOOKS.name).write_text(text, encoding="utf-8")
    revision = commit(hooks)
    config = SCHEMAS["pre-commit"].read_text(encoding="utf-8")
    config = re.sub("https://.*", str(hooks), config).replace("rev: COMMIT", f"rev: {revision}")
    (work / "weights").mkdir()
    shutil.copy(next(Path(workplace.environment["HOME"]).glob("artifacts/**/*.pt2")), work / "weights" / "model.pt2")
    (work / ".pre-commit-config.yaml").write_text(config.replace("model.safetensors", "model.pt2"), encoding="utf-8")
    commit(work)
    for stage, expected in (("pre-commit", "policy of backdoor-gate"), ("pre-push", "weights for backdoors")):
        done = workplace.run(f"pre-commit run --all-files --verbose --hook-stage {stage}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"{expected}\.+Passed", done.stdout), done.stdout
    (work / "policy.yaml").write_text("version: 2\n", encoding="utf-8")
    done = workplace.run("pre-commit run --all-files")
    assert done.returncode == 1
    assert "must be 1" in done.stdout


def commit(folder: Path) -> str:
    """Make a repository of a folder; return its commit."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    for words in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()
