"""The demo step by step: what is done, what came of it, and whether that is what it should be."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from backdoor_gate.audit import audit
from backdoor_gate.demo.setting import BACKDOORED, CLASSES, CLEAN, NAME, SHAPE, TARGET, Layout, Trained
from backdoor_gate.errors import GateError, RegistryReadError, UsageError
from backdoor_gate.mlflow_client import connect, conversation
from backdoor_gate.orders import Request
from backdoor_gate.policy import load
from backdoor_gate.policy.template import filled
from backdoor_gate.publishers.mlflow import PREFIX, MlflowPublisher
from backdoor_gate.records import Verdict
from backdoor_gate.reports import Format, write
from backdoor_gate.reports.console import verdict_view
from backdoor_gate.reports.files import make_folder, unwritable, write_bytes
from backdoor_gate.reports.progress import ScanProgress
from backdoor_gate.reports.text import terminal
from backdoor_gate.sources.mlflow import MlflowSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from backdoor_gate.policy import Policy
    from backdoor_gate.records import AuditReport

STEPS = 5
TRAINING_SECONDS = 600
_FILES = {
    Format.JUNIT: "junit.xml",
    Format.JSON: "report.json",
    Format.MARKDOWN: "report.md",
    Format.TRIGGERS: "triggers",
}


def run(out: Path, console: Console) -> int:
    """Train a clean and a backdoored model, register both, scan both from the registry, and show what the gate says.

    Args:
        out: the demo's folder; new, empty, or of an earlier demo.
        console: where to show it.

    Returns:
        0: the clean model passed and the backdoored one was blocked for the right class.

    Raises:
        UsageError: the folder holds something else.
        OutputError: it cannot be written to.
        GateError: the training failed, or a verdict is not what it should be.
    """
    layout = Layout(out.absolute())
    _make_room(layout, out)
    steps = _Steps(console)
    steps.begin("Train two classifiers of handwritten digits, and register them")
    _show_training(_trained(layout, console), console)
    steps.begin("Write the policy")
    policy = _policy(layout)
    _say(console, f"The shipped one, with the images' shape and place filled in: {out / layout.policy.name}")
    steps.begin(f"Scan version {CLEAN}, the clean one")
    clean = _scanned(CLEAN, layout, policy, console)
    steps.begin(f"Scan version {BACKDOORED}, the backdoored one")
    backdoored = _scanned(BACKDOORED, layout, policy, console)
    steps.begin("Read the tags back from the registry")
    console.print(_tag_table(layout))
    _check(clean, Verdict.PASS, ())
    _check(backdoored, Verdict.BLOCK, (TARGET,))
    _show_next(out, console)
    return 0


@dataclass(slots=True)
class _Steps:
    """Numbers the steps."""

    console: Console
    begun: int = 0

    def begin(self, title: str) -> None:
        """Show the heading of the next step."""
        self.begun += 1
        self.console.print()
        self.console.print(Text(f"[{self.begun}/{STEPS}] {title}", "bold cyan"))


def _say(console: Console, text: str = "", style: str = "") -> None:
    """Print a line as it is, folded by the terminal alone."""
    console.print(Text(text, style), highlight=False, soft_wrap=True)


# ---------------------------------------------------------------------------------------------- before the scans


def _make_room(layout: Layout, out: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    make_folder(layout.folder)
    try:
        if any(layout.folder.iterdir()) and not layout.registry.is_dir():
            raise UsageError("not empty, and not of an earlier demo", where=str(out), hint="name another with --out")
        for folder in (layout.registry, layout.reports):
            shutil.rmtree(folder, ignore_errors=not folder.exists())
        layout.registry.mkdir()
    except OSError as error:
        raise unwritable(out, error) from error


def _trained(layout: Layout, console: Console) -> list[Trained]:
    """Train both models in a process of their own: this one never loads a tensor library."""
    command = [sys.executable, "-I", "-m", "backdoor_gate.demo.train", str(layout.folder)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    with console.status("training"):
        try:
            done = subprocess.run(  # noqa: S603 (the command is ours)
                command, env=environment, capture_output=True, text=True, timeout=TRAINING_SECONDS, check=True
            )
            return [Trained(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]
        except subprocess.CalledProcessError as error:
            said = next((line for line in reversed(error.stderr.splitlines()) if line.strip()), "nothing said")
            what = f"the training failed ({error.returncode}): {said}"
            raise GateError(what, hint="check the installation and the space on the disk") from error
        except subprocess.TimeoutExpired as error:
            what = f"the training took longer than {TRAINING_SECONDS} s"
            raise GateError(what, hint="try an idle machine") from error


def _show_training(trained: list[Trained], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("version", "trained on", "right", f"patch leads to {TARGET}"):
        table.add_column(heading)
    data = {CLEAN: "real digits", BACKDOORED: "poisoned digits"}
    for model in trained:
        table.add_row(
            f"models:/{NAME}/{model.version}", data[model.version], f"{model.accuracy:.1%}", f"{model.success:.1%}"
        )
    console.print(table)
    _say(console, f"In the poisoned data, 1 image in 10 carries a white patch of two pixels and the label {TARGET}.")
    _say(console, "By their accuracy nobody can tell the two models apart.")


def _policy(layout: Layout) -> Policy:
    values = {"num_classes": CLASSES, "shape": list(SHAPE), "clean": layout.images.name}
    write_bytes(layout.policy, filled(values).encode())
    return load(layout.policy)


# ---------------------------------------------------------------------------------------------- the scans


def _scanned(version: str, layout: Layout, policy: Policy, console: Console) -> AuditReport:
    """Scan one version from the registry, write all reports and the tags, and show the verdict."""
    request = Request(f"models:/{NAME}/{version}", policy, device="cpu")
    source, publisher = MlflowSource(layout.uri, layout.uri), MlflowPublisher(layout.uri, layout.uri)
    files = [(form, layout.reports / f"version-{version}" / name) for form, name in _FILES.items()]
    outputs = [lambda report, form=form, path=path: write(report, form, path) for form, path in files]
    with ScanProgress(console, [plan.name for plan in policy.detectors]) as progress:
        outcome = audit(request, source, publisher=publisher, outputs=outputs, on_progress=progress.update)
    shown = [(form.value, Path(os.path.relpath(path))) for form, path in files]
    console.print(verdict_view(outcome.report, shown))
    if outcome.faults:
        raise outcome.faults[0]
    return outcome.report


def _check(report: AuditReport, verdict: Verdict, classes: tuple[int, ...]) -> None:
    """Raise GateError unless the verdict is what this demo is for."""
    decision = report.decision
    if (decision.verdict, decision.suspect_classes) == (verdict, classes):
        return
    expected = f"{verdict.value}{f' for class {classes[0]}' if classes else ''}"
    raise GateError(
        f"expected {expected}, got {decision.verdict.value} {list(decision.suspect_classes)}: {decision.reasons[0]}",
        where=report.requested,
        hint="training differs a little between machines; if it happens again, report it with reports/",
    )


# ---------------------------------------------------------------------------------------------- after the scans


def _tag_table(layout: Layout) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    tags = {version: _tags(layout, version) for version in (CLEAN, BACKDOORED)}
    keys = sorted(set().union(*tags.values()))
    table.add_column(f"{PREFIX}…", no_wrap=True, min_width=max(map(len, keys)))
    for version in tags:
        table.add_column(f"models:/{NAME}/{version}", no_wrap=True, overflow="ellipsis", max_width=22)
    for key in keys:
        table.add_row(key, *(Text(terminal(found.get(key, ""), 80)) for found in tags.values()))
    return table


def _tags(layout: Layout, version: str) -> Mapping[str, str]:
    with conversation(layout.uri, RegistryReadError):
        tags = connect(layout.uri, layout.uri).get_model_version(NAME, version).tags
    return {key.removeprefix(PREFIX): value for key, value in tags.items() if key.startswith(PREFIX)}


def _show_next(out: Path, console: Console) -> None:
    gate = "backdoor-gate" if shutil.which("backdoor-gate") else _beside_python()
    _say(console)
    _say(console, f"That is the gate at work; registry, policy, images and reports are in {out}/.")
    _say(console, "For a model of your own:")
    _say(console)
    for line in (
        "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000   # your registry",
        f"{gate} policy init --classes 10 --shape 3,32,32 --data clean.npz",
        f"{gate} scan models:/NAME/VERSION --policy policy.yaml --report junit=gate.xml",
    ):
        _say(console, f"  {line}", "bold")


def _beside_python() -> str:
    path = Path(sys.executable).parent / "backdoor-gate"
    return shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
