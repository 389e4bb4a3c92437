"""What the figures of a benchmark hang on: command, commit, machine, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def circumstances(
    module: str, seed: int, packages: tuple[str, ...] = ("backdoor-gate", "torch", "numpy")
) -> dict[str, Any]:
    """Return the circumstances of this run.

    Args:
        module: the benchmark's, as `python -m` takes it.
        seed: of its draws.
        packages: whose versions matter.
    """
    changed = " with changes" if git("status", "--porcelain", "backdoor_gate") else ""
    return {
        "command": " ".join(["python -m", module, *(shown(argument) for argument in sys.argv[1:])]),
        "commit": git("rev-parse", "HEAD") + changed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "seed": seed,
    }


def shown(argument: str) -> str:
    """Return a command's argument without the folders of this machine."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def processor() -> str:
    """Return the processor's name."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def git(*arguments: str) -> str:
    """Return what git says of this checkout; `unknown` where there is none."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def told(about: dict[str, Any]) -> str:
    """Return circumstances as two lines of Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"`{about['command']}`, commit `{about['commit']}`, {about['date']}, {about['machine']}\n"
        f"(load {about['load_average']} at the start), seed {about['seed']}, {versions}."
    )
