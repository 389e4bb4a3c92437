"""The floor plan, enforced: who may import whom, how long a file may be, and what a quick command may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

import backdoor_gate

PACKAGE = Path(backdoor_gate.__file__).parent
NAME = "backdoor_gate"
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60

POLICY = """\
version: 1
model:
  num_classes: 10
  input: {shape: [1, 8, 8], range: [0, 1]}
  formats: [pt2]
"""


# ---------------------------------------------------------------------------------------------- reading imports


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module and its importer, both dotted; the line; and whether only type checkers read it."""

    importer: str
    module: str
    line: int
    typing_only: bool

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.importer}:{self.line} imports {self.module}"


def dotted(path: Path, root: Path) -> str:
    parts = (root.name, *path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _typing_only_nodes(tree: ast.Module) -> set[ast.AST]:
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def _targets(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            module = f"{base}.{module}".rstrip(".")
        # `from package import name`: the name may be a module itself.
        return [module, *(f"{module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {
        "__import__",
        "import_module",
        "importlib.import_module",
    }:
        literal = node.args[0] if node.args else None
        return [literal.value] if isinstance(literal, ast.Constant) and isinstance(literal.value, str) else []
    return []


def imports_of(root: Path) -> list[Import]:
    """Return every import in the package at `root`, at any depth of any file: inside functions too."""
    found = []
    for path in sorted(root.rglob("*.py")):
        importer = dotted(path, root)
        package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        typing_only = _typing_only_nodes(tree)
        for node in ast.walk(tree):
            line, for_types = getattr(node, "lineno", 0), node in typing_only
            found += [Import(importer, module, line, for_types) for module in _targets(node, package)]
    return found


# ---------------------------------------------------------------------------------------------- the rules


def within(module: str, *parents: str) -> bool:
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def ours(*parts: str) -> tuple[str, ...]:
    return tuple(f"{NAME}.{part}" for part in parts)


RECORDS = ("records", "candidate_facts", "illustrations", "trigger_facts", "reference_facts")
"""The frozen values that travel through the house."""
TOOLS = ("untrusted", "bounded_files", "stored_images", "strict_json", "strict_yaml", "units")
"""What every room may use: text and files that it did not write, durations and sizes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Modules below `importers` (but not below `apart_from`) never import anything below `forbidden`."""

    name: str
    forbidden: tuple[str, ...]
    importers: tuple[str, ...] = (NAME,)
    apart_from: tuple[str, ...] = ()
    but_may: tuple[str, ...] = ()
    types_allowed: bool = False

    def broken_by(self, found: Import) -> bool:
        """Whether this import breaks the rule."""
        return (
            within(found.importer, *self.importers)
            and not within(found.importer, *self.apart_from)
            and within(found.module, *self.forbidden)
            and not within(found.module, *self.but_may)
            and not (self.types_allowed and found.typing_only)
        )


ROOMS = ("sources", "publishers", "reports", "scan", "verdict")
SCAN = {
    "network": (),
    "sweeps": ("leads",),
    "triggers": ("adam",),
    "loading": ("network",),
    "data": ("network", "triggers"),
    "detectors": ("data", "leads", "network", "sweeps", "triggers"),
    "examination": ("data", "leads", "loading", "machine", "network"),
}
"""The parts of the scan, each with the others that it may import; the modules beside them join these."""
SHELL = ours("cli", "github", "demo")
JOINERS = ours("audit", "orders", "lifecycle", "doctor", "api")


def other_than(*parts: str) -> tuple[str, ...]:
    """Return what else there is in the scan, dotted."""
    names = {path.stem for path in (PACKAGE / "scan").iterdir() if not path.stem.startswith("__")}
    return ours(*(f"scan.{name}" for name in sorted(names - {*parts})))


RULES = (
    Rule("errors imports nothing of ours", (NAME,), ours("errors"), but_may=ours("errors")),
    Rule(
        "the catalogue and its budgets import only errors",
        (NAME,),
        ours("catalogue", "budgets"),
        but_may=ours("catalogue", "budgets", "errors"),
    ),
    Rule(
        "the tools of every room import only errors",
        (NAME,),
        ours(*TOOLS),
        but_may=ours("errors", *TOOLS),
    ),
    Rule(
        "records imports only errors and catalogue",
        (NAME,),
        ours("records", "fleet", "illustrations", "candidate_facts", "trigger_facts", "reference_facts"),
        but_may=ours(
            "records", "errors", "catalogue", "illustrations", "candidate_facts", "trigger_facts", "reference_facts"
        ),
    ),
    *(
        Rule(
            f"{room} imports none of the other rooms, nor what joins them",
            (*ours(*(other for other in ROOMS if other != room), "worker"), *JOINERS, *SHELL),
            ours(room),
        )
        for room in ROOMS
    ),
    Rule(
        "the worker knows no source, publisher, report, verdict or policy",
        (*ours("sources", "publishers", "reports", "verdict", "policy"), *JOINERS, *SHELL),
        ours("worker"),
    ),
    Rule("only the worker's child side imports scan", ours("scan"), apart_from=ours("scan", "worker.main")),
    *(
        # The network knows by its type alone what a loader gives it.
        Rule(
            f"scan.{part} imports of the scan only {' and '.join(known) or 'itself'}",
            other_than(part, *known),
            ours(f"scan.{part}"),
            types_allowed=part == "network",
        )
        for part, known in SCAN.items()
    ),
    Rule("nothing in the scan imports the session", ours("scan.session"), ours("scan")),
    Rule("scan knows neither the registry nor the policy", (*ours("policy"), "mlflow"), ours("scan")),
    Rule(
        "of the scan only what describes an exported program imports pydantic",
        ("pydantic",),
        ours("scan"),
        apart_from=ours("scan.loading.pt2.document"),
    ),
    Rule(
        "only scan, the worker's child side and the demo's training import torch",
        ("torch", "torchvision"),
        apart_from=ours("scan", "worker.main", "demo.train"),
    ),
    Rule(
        "no registry client in the worker, the verdict or a report", ("mlflow",), ours("worker", "verdict", "reports")
    ),
    Rule(
        "no signing key in the worker, the scan or a report",
        ("cryptography", *ours("publishers.attestation")),
        ours("worker", "scan", "reports"),
    ),
    Rule(
        "the verdict does no input or output",
        ("os", "io", "pathlib", "socket", "subprocess", "tempfile", "shutil", "urllib", "requests", "yaml"),
        ours("verdict"),
        types_allowed=True,
    ),
    Rule("only the shell imports the shell", SHELL, apart_from=(*SHELL, *ours("__main__"))),
)


def violations(rule: Rule, root: Path) -> list[str]:
    return sorted({str(found) for found in imports_of(root) if rule.broken_by(found)})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_imports_run_one_way(rule: Rule) -> None:
    assert violations(rule, PACKAGE) == []


BREAKS = {
    "errors imports nothing of ours": ("errors.py", "from backdoor_gate import records"),
    "the catalogue and its budgets import only errors": ("catalogue.py", "from . import records"),
    "the tools of every room import only errors": ("untrusted.py", "from . import records"),
    "records imports only errors and catalogue": ("records.py", "import backdoor_gate.policy"),
    "the worker knows no source, publisher, report, verdict or policy": ("worker/launch.py", "from ..sources import x"),
    "only the worker's child side imports scan": ("worker/launch.py", "from backdoor_gate.scan import session"),
    "scan knows neither the registry nor the policy": ("scan/a.py", "def f():\n    from ..policy import Policy"),
    "of the scan only what describes an exported program imports pydantic": ("scan/a.py", "import pydantic.fields"),
    "only scan, the worker's child side and the demo's training import torch": (
        "demo/run.py",
        "import importlib\ntorch = importlib.import_module('torch.nn')",
    ),
    "no registry client in the worker, the verdict or a report": ("verdict/a.py", "import mlflow.artifacts"),
    "no signing key in the worker, the scan or a report": (
        "worker/a.py",
        "def f():\n    from cryptography.hazmat.primitives import serialization",
    ),
    "the verdict does no input or output": ("verdict/a.py", "from pathlib import Path"),
    "only the shell imports the shell": ("audit.py", "from backdoor_gate.cli import main"),
}
BREAKS |= {
    f"{room} imports none of the other rooms, nor what joins them": (
        f"{room}/a.py",
        f"from backdoor_gate.{ROOMS[(position + 1) % len(ROOMS)]}.b import c",
    )
    for position, room in enumerate(ROOMS)
}
BREAKS |= {
    rule.name: ("/".join(rule.importers[0].split(".")[1:]) + "/a.py", "from backdoor_gate.scan import session")
    for rule in RULES
    if rule.importers[0] in ours("scan", *(f"scan.{part}" for part in SCAN)) and rule.name not in BREAKS
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_notices_a_break(rule: Rule, tmp_path: Path) -> None:
    file, code = BREAKS[rule.name]
    path = tmp_path / NAME / file
    path.parent.mkdir(parents=True)
    path.write_text(code, encoding="utf-8")
    assert violations(rule, tmp_path / NAME)


def test_type_imports_are_no_input_or_output(tmp_path: Path) -> None:
    path = tmp_path / NAME / "verdict" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text("if TYPE_CHECKING:\n    from pathlib import Path", encoding="utf-8")
    assert not any(violations(rule, tmp_path / NAME) for rule in RULES)


# ---------------------------------------------------------------------------------------------- sizes


def too_long(path: Path) -> list[str]:
    """Return what is too long in a file. Blank lines of a module do not count; every line of a function does."""
    text = path.read_text(encoding="utf-8")
    lines = sum(1 for line in text.splitlines() if line.strip())
    found = [f"{path.name}: {lines} lines"] if lines > MAX_MODULE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"{path.name}:{node.lineno} {node.name}: {length} lines")
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(PurePosixPath(path.relative_to(PACKAGE)))
)
def test_files_and_functions_stay_short(path: Path) -> None:
    assert too_long(path) == []


def test_length_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("def f():\n" + "    x = 1\n\n" * 301, encoding="utf-8")
    assert len(too_long(path)) == 2


def test_the_document_names_every_room() -> None:
    document = Path(__file__).parent.parent / "docs" / "architecture.md"
    table = {line.split("|")[1] for line in document.read_text(encoding="utf-8").splitlines() if line.startswith("|")}
    told = set(re.findall(r"`([a-z_]+(?:/|\.py))`", "".join(table)))
    files = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    assert told == files | {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}


def test_every_package_says_what_it_is() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    silent = [
        str(folder.relative_to(PACKAGE))
        for folder in folders
        if not (folder / "__init__.py").is_file()
        or not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert silent == []


# ---------------------------------------------------------------------------------------------- quick commands


def loaded_by(arguments: list[str], folder: Path) -> set[str]:
    """Run a command and return the top-level modules that Python loaded for it."""
    command = [sys.executable, "-X", "importtime", "-c", "from backdoor_gate.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("arguments", [["--help"], ["policy", "check", "gate.yaml"], ["detectors"]], ids=" ".join)
def test_quick_commands_load_no_heavy_library(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(POLICY, encoding="utf-8")
    loaded = loaded_by(arguments, tmp_path)
    assert NAME in loaded
    assert loaded & {"torch", "mlflow", "sklearn", "matplotlib", "pandas"} == set()
