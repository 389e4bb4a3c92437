"""Scan public checkpoints of strangers from a registry, through the command line, with one policy for all of them.

    python -m benchmarks.cases [--cases ../shared/cases] [--only PATTERN] [--seed N]

Registers the weights of every case in an SQLite registry in `benchmarks/work/cases`, writes one policy (an entry per
case for architecture and images; detectors and rates are the shipped defaults for all), scans each version with
`backdoor-gate scan`, and writes `benchmarks/results/cases.json` and `cases.md`. Nothing is tuned on these few.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from backdoor_gate.errors import OutputError
from backdoor_gate.mlflow_client import conversation
from benchmarks.circumstances import RESULTS, ROOT, circumstances
from benchmarks.circumstances import told as told_of

WORK = ROOT / "benchmarks" / "work" / "cases"
DATA = {"mnist": "mnist_test", "cifar10": "cifar10_test_jpeg"}
MAX_IMAGES = 500
PACKAGES = ("backdoor-gate", "torch", "numpy", "mlflow")


@dataclass(frozen=True)
class Case:
    """One checkpoint: its folder's name, and what its `meta.json` says."""

    name: str
    meta: dict[str, Any]

    @property
    def planted(self) -> str:
        """What is known to be in it."""
        if self.meta["backdoored"]:
            return str(self.meta["attack"])
        return "repaired" if self.meta.get("repaired") else "clean"

    def is_right(self, verdict: str, suspects: list[int]) -> bool:
        """Return whether the verdict is right: a block names the one planted class where there is one."""
        target = self.meta["target_class"]
        if not self.meta["backdoored"]:
            return verdict == "PASS"
        return verdict == "BLOCK" and (suspects == [target] or not isinstance(target, int))


# ---------------------------------------------------------------------------------------------- before the scans


def find(folder: Path, pattern: str) -> list[Case]:
    """Return the cases below a folder, in order of their names."""
    metas = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/meta.json")}
    return [Case(name, metas[name]) for name in sorted(metas) if fnmatch.fnmatch(name, pattern)]


def write_images(folder: Path, dataset: str) -> Path:
    """Write the test images of a data set as the npz file that a policy names; once."""
    path = WORK / f"{dataset}.npz"
    if not path.exists():
        spec = importlib.util.spec_from_file_location("load", folder / "load.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        images, labels = module.load(DATA[dataset])
        np.savez(path, images=images, labels=labels)
    return path


def write_policy(cases: list[Case], folder: Path) -> Path:
    """Write the one policy: what differs between its entries is where code and images are."""
    entries = []
    for case in cases:
        nets = WORK / "nets" / case.name
        nets.mkdir(parents=True)
        shutil.copyfile(folder / case.name / "arch.py", nets / "arch.py")
        model = {"architecture": "arch:build", "architecture_path": str(nets), "num_classes": case.meta["num_classes"]}
        images = write_images(folder.parent / "data", case.meta["dataset"])
        entries.append({"match": case.name, "model": model, "data": {"clean": str(images), "max_images": MAX_IMAGES}})
    path = WORK / "policy.yaml"
    path.write_text(json.dumps({"version": 1, "models": entries}, indent=1), encoding="utf-8")
    return path


def register(cases: list[Case], folder: Path) -> str:
    """Register the weights of every case as they are, and return the registry's URI."""
    uri = f"sqlite:///{WORK / 'registry.db'}"
    with conversation(uri, OutputError):
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415
        from mlflow.tracking import MlflowClient  # noqa: PLC0415

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # importing MLflow has set it
        SqlAlchemyStore(uri, (WORK / "artifacts").as_uri())
        client = MlflowClient(uri, uri)
        for case in cases:
            run = client.create_run("0", run_name=case.name)
            client.log_artifact(run.info.run_id, str(folder / case.name / "weights.safetensors"), "weights")
            client.create_registered_model(case.name)
            source = f"{run.info.artifact_uri}/weights"
            client.create_model_version(case.name, source=source, run_id=run.info.run_id)
    return uri


# ---------------------------------------------------------------------------------------------- the scans


def scan(case: Case, policy: Path, uri: str, seed: int) -> dict[str, Any]:
    """Scan one version as a pipeline would, and return what came of it."""
    report = WORK / "reports" / f"{case.name}.json"
    command = [sys.executable, "-c", "from backdoor_gate.cli import main; main()", "scan", f"models:/{case.name}/1"]
    command += ["--policy", str(policy), "--tracking-uri", uri, "--seed", str(seed), "--quiet"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "GITHUB_"))}
    started, before = time.monotonic(), cpu_seconds()
    done = subprocess.run(
        [*command, f"--report=json={report}"], env=environment, capture_output=True, text=True, check=False
    )
    spent = {
        "wall_seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(cpu_seconds() - before, 1),
    }
    row = {"case": case.name, "planted": case.planted, "target": case.meta["target_class"], "exit": done.returncode}
    if not report.exists():
        return row | {"verdict": "none", "right": False, "said": (done.stdout + done.stderr)[-500:]}
    return row | told(case, json.loads(report.read_text(encoding="utf-8"))) | spent


def cpu_seconds() -> float:
    """Return the processor time of all processes that this one has waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def told(case: Case, report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a JSON report."""
    kept = (
        "status", "anomaly_index", "threshold", "p_value", "suspect_classes", "suspect_pairs", "per_class", "seconds",
        "reason",
    )  # fmt: skip
    detectors = {found["name"]: {key: found.get(key) for key in kept} for found in report["detectors"]}
    return {
        "verdict": report["verdict"],
        "suspicion": report["suspicion"],
        "suspect_classes": report["suspect_classes"],
        "right": case.is_right(report["verdict"], report["suspect_classes"]),
        "reasons": report["reasons"],
        "measuring_seconds": round(sum(found["seconds"] for found in detectors.values()), 1),
        "peak_memory_mib": round(report["cost"]["peak_memory"] / 2**20),
        "device": report["tool"]["device"],
        "isolation": report["tool"]["isolation"],
        "calibrated": report["calibrated"],
        "detectors": detectors,
    }


# ---------------------------------------------------------------------------------------------- after the scans


def markdown(result: dict[str, Any]) -> str:
    """Return the result as a document."""
    lines = [
        "# Public checkpoints",
        "",
        told_of(result["circumstances"]),
        "",
        "Checkpoints by strangers, too few to tune on, scanned from a registry with the shipped policy. Right: an",
        "all-to-one backdoor is blocked for the planted class alone, an all-to-all one for whichever pairs are found,",
        "a clean or repaired network passes. Wall: the whole command, with the start of both its processes. CPU: of",
        "the gate; the locked worker's is not counted. Measuring: the detectors alone, wall.",
        "",
        "| case | planted | class | verdict | suspects | right | largest index | wall s | CPU s | measuring s | MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [table_row(row) for row in result["cases"]]
    judged = [row["right"] for row in result["cases"]]
    lines += ["", f"Right: {sum(judged)} of {len(judged)}.", "", "Why, in the gate's words:", ""]
    lines += [f"- {row['case']}: {'; '.join(row.get('reasons', [row.get('said', '')]))}" for row in result["cases"]]
    return "\n".join(lines) + "\n"


def table_row(row: dict[str, Any]) -> str:
    """Return one case as a row of the table."""
    right = "yes" if row["right"] else "NO"
    indices = [(found["anomaly_index"], name) for name, found in row.get("detectors", {}).items()]
    index, name = max(((value, name) for value, name in indices if value is not None), default=(None, ""))
    cells = [
        row["case"],
        row["planted"],
        "–" if row["target"] is None else row["target"],
        row["verdict"],
        ", ".join(map(str, row.get("suspect_classes", []))) or "–",
        right,
        "–" if index is None else f"{index:.1f} ({name})",
        *(row.get(key, "–") for key in ("wall_seconds", "cpu_seconds", "measuring_seconds", "peak_memory_mib")),
    ]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


@click.command()
@click.option("--cases", "folder", type=click.Path(path_type=Path), default=ROOT.parent / "shared" / "cases")
@click.option("--only", default="*", help="Pattern of case names; with one, the result is printed and not kept.")
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, only: str, seed: int) -> None:
    """Register, scan and report every case."""
    cases = find(folder, only)
    if not cases:
        print(f"skipped: there are no cases at {folder}")
        return
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    result: dict[str, Any] = {"circumstances": circumstances("benchmarks.cases", seed, PACKAGES), "cases": []}
    policy, uri = write_policy(cases, folder), register(cases, folder)
    for case in cases:
        result["cases"].append(scan(case, policy, uri, seed))
        print(table_row(result["cases"][-1]), flush=True)
    if only == "*":
        (RESULTS / "cases.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "cases.md").write_text(markdown(result), encoding="utf-8")
    sys.exit(any(not row["right"] for row in result["cases"]))


if __name__ == "__main__":
    main()
