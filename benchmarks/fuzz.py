"""Feed the parsers changed inputs for a while and count what they do: only the gate's own errors may come out.

    python -m benchmarks.fuzz [--seconds N] [--target NAME] [--engine atheris|bytes] [--out FILE]

Each target runs in a process of its own. With atheris installed (`pip install atheris`, an optional tool) libFuzzer
looks for inputs that reach new code; without it sound seeds are changed at random. An input that raises anything else,
takes longer than a second or makes the process grow beyond its limit is a finding, and is kept; so is a graph of which
the gate and PyTorch make two different networks.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from backdoor_gate.errors import GateError
from benchmarks.circumstances import RESULTS, ROOT, circumstances
from benchmarks.fuzz_targets import TARGETS, Target, change_bytes

OUT = RESULTS / "fuzz.json"
SEED = 0
"""Of the changes at random; libFuzzer draws its own."""
KEPT = ROOT / "benchmarks" / "work" / "fuzz"
"""Inputs that are findings."""
MEMORY = 3 << 30
"""Bytes that a process may have resident, torch included."""
LONGEST = 1 << 16
"""Bytes of an input, or as many as the longest seed has, twice."""


@dataclass
class Count:
    """What came of the inputs of one target."""

    target: str
    engine: str
    inputs: int = 0
    refused: int = 0
    findings: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak_mib: int = 0


class Judge:
    """Tries inputs on a target, and writes down what came of them about once a second.

    Args:
        target: what is fed.
        count: the figures so far.
        written: where they go.
    """

    def __init__(self, target: Target, count: Count, written: Path) -> None:
        self.target, self.count, self._written = target, count, written
        self._started = self._told = 0.0

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        began, fault = time.monotonic(), ""
        try:
            self.target.feed(data)
        except GateError as error:
            self.count.refused += 1
            fault = "" if str(error).isprintable() else "message is not printable"
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        self._started = self._started or began
        count = self.count
        count.inputs += 1
        count.slowest = max(count.slowest, round(now - began, 3))
        count.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        if fault or now - began > self.target.slow or count.peak_mib << 20 > MEMORY:
            self._keep(data, fault or f"{now - began:.1f} s, {count.peak_mib} MiB")
        if now - self._told > 1:
            self._told = now
            self.tell()

    def tell(self) -> None:
        """Write the figures."""
        self.count.seconds = round(time.monotonic() - self._started, 1) if self._started else 0.0
        self._written.write_text(json.dumps(asdict(self.count)))

    def _keep(self, data: bytes, fault: str) -> None:
        self.count.findings += 1
        KEPT.mkdir(parents=True, exist_ok=True)
        path = KEPT / f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        print(f"{path.name}: {fault[:200]!a}", file=sys.stderr)


def longest(seeds: list[bytes]) -> int:
    """Return how many bytes an input has at most."""
    return max(LONGEST, 2 * max(map(len, seeds)))


def run_bytes(judge: Judge, seeds: list[bytes], seconds: int) -> None:
    """Feed changed seeds."""
    end, rng = time.monotonic() + seconds, random.Random(SEED)
    while time.monotonic() < end:
        judge(judge.target.change(rng.choice(seeds), rng)[: longest(seeds)])


def run_atheris(judge: Judge, seeds: list[bytes], seconds: int) -> None:
    """Let libFuzzer choose the inputs, or which one to change; it ends the process."""
    import atheris  # noqa: PLC0415

    def change(data: bytes, most: int, seed: int) -> bytes:
        return judge.target.change(bytes(data), random.Random(seed))[:most]

    own = {} if judge.target.change is change_bytes else {"custom_mutator": change}

    corpus = tempfile.mkdtemp(prefix="fuzz-corpus-")
    for index, seed in enumerate(seeds):
        Path(corpus, str(index)).write_bytes(seed)
    options = (f"-max_total_time={seconds}", f"-max_len={longest(seeds)}", "-rss_limit_mb=0", "-verbosity=0")
    atheris.Setup([sys.argv[0], corpus, *options], judge, **own)
    atheris.Fuzz()


def child(name: str, engine: str, seconds: int, written: Path) -> None:
    """Fuzz one target in this process."""
    if engine == "atheris":
        import atheris  # noqa: PLC0415

        with atheris.instrument_imports(include=["backdoor_gate"], enable_loader_override=False):
            TARGETS[name].prepare()
    judge = Judge(TARGETS[name], Count(name, engine), written)
    judge.tell()
    seeds = TARGETS[name].seeds()
    for seed in seeds:
        TARGETS[name].accept(seed)
    {"atheris": run_atheris, "bytes": run_bytes}[engine](judge, seeds, seconds)
    judge.tell()


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=30, show_default=True, help="For each target.")
@click.option("--target", "names", type=click.Choice(list(TARGETS)), multiple=True, help="Only these.")
@click.option(
    "--engine",
    type=click.Choice(["atheris", "bytes"]),
    default="atheris" if find_spec("atheris") else "bytes",
    show_default=True,
)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where the figures go.")
@click.option("--child", "written", type=click.Path(path_type=Path), hidden=True)
def main(seconds: int, names: tuple[str, ...], engine: str, out: Path, written: Path | None) -> None:
    """Fuzz the parsers of everything that comes from outside."""
    if written is not None:
        child(names[0], engine, seconds, written)
        return
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or TARGETS:
            figures = Path(folder, name)
            options = [f"--seconds={seconds}", f"--target={name}", f"--engine={engine}", f"--child={figures}"]
            ended = subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *options], check=False).returncode
            count = json.loads(figures.read_text())
            count["findings"] += bool(ended)  # the interpreter itself died, or a sound seed was refused
            counts.append(count)
            print(counts[-1])
    packages = ("backdoor-gate", "torch", "pyyaml", *(["atheris"] if engine == "atheris" else []))
    about = circumstances("benchmarks.fuzz", SEED, packages)
    out.write_text(json.dumps({"circumstances": about, "targets": counts}, indent=2) + "\n")
    sys.exit(any(count["findings"] for count in counts))


if __name__ == "__main__":
    main()
